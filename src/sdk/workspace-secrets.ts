import { open } from "node:fs/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { SecretValueSchema } from "../protocol/gen/pyro/daemon/v1/secret_pb.js";

/** A secret for a new workspace: its value, or a file of this host that holds it, whose one trailing newline is dropped. */
export type SecretSource =
  | { readonly name: string; readonly value: string | Uint8Array; readonly filePath?: undefined }
  | { readonly name: string; readonly filePath: string; readonly value?: undefined };

/**
 * The secrets as the wire carries them; files are read here, as the user who calls. No error shows anything of a value.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE
 */
export async function toSecretValues(
  secrets: readonly SecretSource[],
): Promise<MessageInitShape<typeof SecretValueSchema>[]> {
  const values: MessageInitShape<typeof SecretValueSchema>[] = [];
  for (const { name, value, filePath } of secrets) {
    if ((value === undefined) === (filePath === undefined)) {
      throw new PyroError(
        "INVALID_ARGUMENT",
        `the secret ${JSON.stringify(name.slice(0, 80))} needs exactly one of a value and a file`,
        {
          hint: "give it a value, or the path of a file that holds it",
        },
      );
    }
    if (filePath === undefined) {
      values.push({
        name,
        sourceKind: "value",
        value: typeof value === "string" ? Buffer.from(value) : value,
      });
    } else {
      values.push({ name, sourceKind: "file", value: withoutNewline(await readSecretFile(filePath)) });
    }
  }
  return values;
}

/** Without the one newline that editors and `echo` put at the end. */
export function withoutNewline(content: Uint8Array): Uint8Array {
  return content.at(-1) === 0x0a ? content.subarray(0, content.at(-2) === 0x0d ? -2 : -1) : content;
}

async function readSecretFile(path: string): Promise<Uint8Array> {
  const most = LIMITS.secretBytes + 2;
  try {
    await using file = await open(path, "r");
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of file.createReadStream({ autoClose: false }) as AsyncIterable<Uint8Array>) {
      parts.push(part);
      bytes += part.length;
      if (bytes > most) break;
    }
    if (bytes <= most) return Buffer.concat(parts);
  } catch (error) {
    throw new PyroError(
      "INVALID_ARGUMENT",
      `the secret file ${JSON.stringify(path)} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown"})`,
      { hint: "name a readable file that holds the value", cause: error },
    );
  }
  throw new PyroError(
    "ARGUMENT_TOO_LARGE",
    `the secret file ${JSON.stringify(path)} has more than ${LIMITS.secretBytes} bytes`,
    { hint: "push what is large as a file, with `pyro workspace sync push`: it is not redacted then" },
  );
}
