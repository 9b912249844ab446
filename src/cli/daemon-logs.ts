import { open, stat } from "node:fs/promises";
import { sleep } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { Pyro } from "../sdk/index.js";
import type { CommandContext } from "./context.js";
import { reportFailure } from "./failure.js";
import { interrupts } from "./interrupts.js";

const POLL_MS = 200;
const CHUNK_BYTES = 64 * 1024;
/** A log is rotated at 4 MiB; its tail is looked for in no more than this. */
const TAIL_BYTES = 1024 * 1024;

/** `pyro daemon logs`: the end of the log file, and with --follow what is added; works while no daemon runs. */
export async function daemonLogsCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { stdout, stderr, json, host } = context;
  using interrupt = interrupts(host);
  try {
    await using pyro = new Pyro(context.pyroOptions);
    const path = await pyro.daemonStatus({ signal: interrupt.signal }).then(
      ({ logPath }) => logPath,
      () => `${pyro.stateDir}/daemon.log`,
    );
    const tail = await readTail(path, Number(input["tail_lines"]));
    if (json) {
      await stdout.write(`${JSON.stringify({ log_path: path, lines: tail.lines }, null, 2)}\n`);
      return 0;
    }
    for (const line of tail.lines) await stdout.write(`${line}\n`);
    if (input["follow"] === true) await follow(path, tail.size, context, interrupt.signal);
    return 0;
  } catch (error) {
    if (interrupt.status() !== undefined) return interrupt.status() ?? 130;
    return await reportFailure(error, { stdout, stderr }, { json, statuses: "plain" });
  }
}

async function readTail(path: string, lines: number): Promise<{ lines: string[]; size: number }> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    const start = Math.max(0, size - TAIL_BYTES);
    const buffer = Buffer.alloc(size - start);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, start);
    const text = buffer.subarray(0, bytesRead).toString("utf8");
    return {
      lines: text
        .split("\n")
        .filter((line) => line !== "")
        .slice(-lines),
      size: start + bytesRead,
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new PyroError("DAEMON_UNREACHABLE", `there is no log at ${path}: no daemon ran yet`, {
      hint: "any other command starts one, for example `pyro env list`",
    });
  }
}

/** Prints what is added until the signal; a rotated or truncated log is followed from its beginning. */
async function follow(
  path: string,
  from: number,
  { stdout }: CommandContext,
  signal: AbortSignal,
): Promise<void> {
  let offset = from;
  let inode = (await stat(path)).ino;
  for (;;) {
    await sleep(POLL_MS, signal);
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) continue;
    if (found.ino !== inode || found.size < offset) offset = 0;
    inode = found.ino;
    if (found.size === offset) continue;
    await using file = await open(path, "r");
    const buffer = Buffer.alloc(CHUNK_BYTES);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
      if (bytesRead === 0) break;
      await stdout.write(Buffer.from(buffer.subarray(0, bytesRead)));
      offset += bytesRead;
    }
  }
}
