import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { visible, type Operation } from "../operations/index.js";
import { PyroError } from "../protocol/index.js";
import { Pyro } from "../sdk/index.js";
import type { CommandContext } from "./context.js";
import { interrupts } from "./interrupts.js";
import { progressOn, silentProgress } from "./progress.js";
import { reportFailure } from "./failure.js";

/** On the user's own command line any path is theirs. */
export const anyHostPath = (path: string): Promise<string> => Promise.resolve(resolve(path));

/** Bound of a file that stands for an argument. */
const FILE_BYTES_MAX = 8 * 1024 * 1024;

/** @throws {PyroError} INVALID_ARGUMENT */
export async function readHostFile(path: string): Promise<Uint8Array> {
  try {
    await using file = await open(path === "-" ? "/dev/stdin" : path, "r");
    const parts: Uint8Array[] = [];
    let bytes = 0;
    for await (const part of file.createReadStream({ autoClose: false }) as AsyncIterable<Uint8Array>) {
      bytes += part.length;
      if (bytes > FILE_BYTES_MAX) throw new Error(`it has more than ${FILE_BYTES_MAX} bytes`);
      parts.push(part);
    }
    return Buffer.concat(parts);
  } catch (error) {
    throw new PyroError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(path)} cannot be read: ${(error as Error).message}`,
      {
        hint: "name a readable file, or - for standard input",
        cause: error,
      },
    );
  }
}

/** A command whose result is one record: prints it for people, or as JSON. */
export async function operationCommand(
  operation: Operation,
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { stdout, stderr, json, host } = context;
  using interrupt = interrupts(host);
  await using pyro = new Pyro(context.pyroOptions);
  const progress = operation.kind === "read" ? silentProgress : progressOn(host.stderr);
  const decoder = new TextDecoder();
  try {
    const record = await operation.run(input, {
      pyro,
      signal: interrupt.signal,
      hostPath: anyHostPath,
      readHostFile,
      onProgress: ({ message, fraction }) => progress.show(message, fraction),
      onOutput: (data) => {
        progress.clear();
        // A guest's: it drives no terminal. Lines that draw over themselves come one below the other.
        host.stderr.write(visible(decoder.decode(data, { stream: true }).replace(/\r\n?/g, "\n")));
      },
    });
    progress.clear();
    await stdout.write(`${shown(operation, record, context)}\n`);
    return operation.exitCode?.(record) ?? 0;
  } catch (error) {
    progress.clear();
    const status = await reportFailure(error, { stdout, stderr }, { json, statuses: "plain" });
    return interrupt.status() ?? status;
  }
}

function shown(operation: Operation, record: unknown, { json, idOnly, host }: CommandContext): string {
  if (json) return JSON.stringify(record, null, 2);
  if (!idOnly || operation.idOnly === undefined) {
    const text = operation.render(record);
    // What a guest wrote drives no terminal; a program that reads it gets it as it is.
    return host.stdout.isTTY === true ? visible(text) : text;
  }
  return String((record as Record<string, unknown>)[operation.idOnly]);
}
