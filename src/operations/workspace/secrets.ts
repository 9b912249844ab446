import * as z from "zod";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { SecretSource } from "../../sdk/index.js";
// Not by the index: the client and what it is made of would be loaded before anybody needs them.
import { withoutNewline } from "../../sdk/workspace-secrets.js";
import type { OperationContext } from "../operation.js";

const secretName = (): z.ZodString => z.string().min(1).max(64);

/** Fields of create that give secrets; no error quotes them (`neverShown`). */
export const secretFields = {
  /** For tools; the command line has the two below. */
  secrets: z
    .array(
      z.strictObject({
        name: secretName(),
        value: z.string().max(LIMITS.secretBytes).optional(),
        file_path: z.string().min(1).max(4096).optional(),
      }),
    )
    .max(LIMITS.secretCount)
    .default([])
    .describe(
      "Values that commands get by secret_env only, and that are shown nowhere; each a value or a host file",
    ),
  secret: z
    .array(z.string())
    .default([])
    .describe(
      "NAME=VALUE, or NAME to read the value from standard input; repeatable. NAME=VALUE shows in `ps` and in the shell's history",
    ),
  secret_file: z
    .array(z.string())
    .default([])
    .describe(
      "NAME=PATH of a file of this host that holds the value, without its one trailing newline; repeatable",
    ),
};

/** Secrets of the workspace that a process gets, by the name of its variable. */
export const secretEnvField = z
  .record(secretName(), z.string().max(64))
  .default({})
  .describe("Give the process a secret of the workspace as a variable: NAME, or NAME=VARIABLE; repeatable");

/** For what keeps or copies memory. */
export const allowSecrets = (): z.ZodDefault<z.ZodBoolean> =>
  z
    .boolean()
    .default(false)
    .describe("Also while a live process holds a secret: its value is in that memory");

type Given = z.output<z.ZodObject<typeof secretFields>>;

/**
 * What a face was given, as the SDK takes it.
 * @throws {PyroError} INVALID_ARGUMENT; HOST_PATH_NOT_ALLOWED
 */
export async function secretSources(
  { secrets = [], secret = [], secret_file: files = [] }: Partial<Given>,
  { hostPath, readHostFile }: Pick<OperationContext, "hostPath" | "readHostFile">,
): Promise<SecretSource[]> {
  const sources: SecretSource[] = [];
  for (const { name, value, file_path: path } of secrets) {
    if ((value === undefined) === (path === undefined))
      throw malformed(`the secret ${JSON.stringify(name)} needs exactly one of value and file_path`);
    sources.push(
      path === undefined ? { name, value: value ?? "" } : { name, filePath: await hostPath(path) },
    );
  }
  if (secret.filter((text) => !text.includes("=")).length > 1)
    throw malformed("only one secret can be read from standard input");
  for (const text of secret) {
    const at = text.indexOf("=");
    if (at > 0) sources.push({ name: text.slice(0, at), value: text.slice(at + 1) });
    else if (at < 0) sources.push({ name: text, value: withoutNewline(await readHostFile("-")) });
    else throw malformed("a --secret has no name");
  }
  for (const text of files) {
    const at = text.indexOf("=");
    if (at < 1 || at === text.length - 1) throw malformed("a --secret-file is not NAME=PATH");
    sources.push({ name: text.slice(0, at), filePath: await hostPath(text.slice(at + 1)) });
  }
  return sources;
}

function malformed(message: string): PyroError {
  return new PyroError("INVALID_ARGUMENT", message, {
    hint: "write `--secret-file NAME=PATH`, `--secret NAME` with the value on standard input, or `--secret NAME=VALUE`",
  });
}
