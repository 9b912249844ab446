import type { Readable } from "node:stream";
import * as z from "zod";
import { launch, within, type Child } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { SavedMachine } from "../driver.js";
import { lastLines } from "../printable.js";

export interface HeldFile {
  /** Over the file's size and each page of it that is not zero (guest/cmd/pyro-hold); empty where none was asked for. */
  readonly sha256: string;
  readonly sizeBytes: number;
  /** What of it is not zero: what it occupies in memory. */
  readonly usedBytes: number;
}

export interface HeldDigests {
  readonly memory: HeldFile;
  readonly state: HeldFile;
}

/** Copies in memory, held by a process of their own until it is disposed of. */
export interface Held extends AsyncDisposable {
  /** False once the process is gone, however it went. */
  readonly alive: boolean;
}

/** A saved machine in memory. */
export interface Holder extends Held {
  readonly digests: HeldDigests;
  /** The copies; they stay with the machines that lie on them when the holder goes. */
  readonly saved: SavedMachine;
}

/** A memory that one machine is to go on in: its own from then on. */
export interface OwnMemory extends Held {
  readonly memoryFile: string;
  readonly usedBytes: number;
}

const fileSchema = z
  .object({
    fd: z.number().int().optional(),
    sha256: z.string(),
    size_bytes: z.number(),
    used_bytes: z.number(),
  })
  .transform(({ fd, sha256, size_bytes, used_bytes }) => ({
    fd,
    sha256,
    sizeBytes: size_bytes,
    usedBytes: used_bytes,
  }));
const memorySchema = z.object({ memory: fileSchema });
const bothSchema = z.object({ memory: fileSchema, state: fileSchema });

/** Its exit statuses when the host has no memory, or no room on its disk, for the copies (guest/cmd/pyro-hold). */
const NO_MEMORY = 3;
const DISK_FULL = 4;
/** What pyro-hold calls a memory that a machine goes on in. */
export const OWN_MEMORY_NAME = "pyro-own-memory";
/** It answers with one line of some 400 bytes. */
const ANSWER_BYTES = 4096;

/**
 * Copies a saved machine's files into memory, and tells their digests. The holder ends with this process. The copies are
 * sealed, so that any number of machines can start from them; with `own` one machine goes on in the copy of the memory.
 * With `fast` there are no digests.
 * @throws {PyroError} TEMPLATE_DAMAGED when a file cannot be read, or the holder answers nonsense; MEMORY_FULL when the
 *   host has no memory for it, and the files may be as good as ever; the signal's reason
 */
export async function holdMachine(
  program: string,
  files: SavedMachine,
  options: { readonly own?: boolean; readonly fast?: boolean; readonly signal?: AbortSignal } = {},
): Promise<Holder> {
  const flags = [...(options.own === true ? ["--own"] : []), ...(options.fast === true ? ["--fast"] : [])];
  const args = [...flags, files.memoryFile, files.stateFile];
  const { child, answer } = await ask(program, args, bothSchema, options.signal);
  const { memory, state } = answer;
  const digests = { memory, state };
  const saved = { memoryFile: pathOf(child, memory), stateFile: pathOf(child, state) };
  return toHeld(child, { digests, saved });
}

/**
 * Copies a memory that is proven already: for a machine that goes on in the copy.
 * @throws {PyroError} as holdMachine
 */
export async function ownMemory(
  program: string,
  memoryFile: string,
  signal?: AbortSignal,
): Promise<OwnMemory> {
  const { child, answer } = await ask(program, ["--own", "--fast", memoryFile], memorySchema, signal);
  return toHeld(child, { memoryFile: pathOf(child, answer.memory), usedBytes: answer.memory.usedBytes });
}

/**
 * Copies a machine's memory into a new file, and tells the digests of it and of the state when it is on the disk.
 * @throws {PyroError} DISK_FULL; VM_SAVE_FAILED when it cannot be read or written; what is written by then stays
 */
export async function storeMachine(
  program: string,
  from: SavedMachine,
  target: string,
  signal?: AbortSignal,
): Promise<HeldDigests> {
  try {
    const args = ["--to", target, from.memoryFile, from.stateFile];
    const { child, answer } = await ask(program, args, bothSchema, signal);
    await child.close();
    return answer;
  } catch (error) {
    throw notSaved(error);
  }
}

/**
 * Takes a machine that stands still into memory, unproven: others go on from it at once.
 * @throws {PyroError} MEMORY_FULL; VM_SAVE_FAILED when it cannot be read, for one because the machine is gone
 */
export async function takeMachine(program: string, from: SavedMachine): Promise<Holder> {
  try {
    return await holdMachine(program, from, { fast: true });
  } catch (error) {
    throw notSaved(error);
  }
}

/** What is copied here is no template. */
function notSaved(error: unknown): unknown {
  if (!(error instanceof PyroError) || error.code !== "TEMPLATE_DAMAGED") return error;
  return new PyroError("VM_SAVE_FAILED", error.message, {
    hint: "`pyro workspace status` says whether its machine still runs; `pyro doctor` examines this host",
    cause: error,
  });
}

async function ask<Answer>(
  program: string,
  args: readonly string[],
  schema: z.ZodType<Answer>,
  signal: AbortSignal | undefined,
): Promise<{ child: Child; answer: Answer }> {
  signal?.throwIfAborted();
  const child = await launch(program, args, { stdin: "pipe", stdout: "pipe", graceMs: 0 });
  try {
    child.stdin?.on("error", () => undefined);
    const line = await within(firstLine(child), LIMITS.holdTimeoutMs, "pyro-hold", signal);
    return { child, answer: schema.parse(JSON.parse(line)) };
  } catch (error) {
    const { code, stderrTail } = await child.close();
    signal?.throwIfAborted();
    const said = lastLines(stderrTail, 2);
    if (code === NO_MEMORY) throw memoryFull(said, error);
    if (code === DISK_FULL) throw diskFull(said, error);
    throw new PyroError(
      "TEMPLATE_DAMAGED",
      `a machine's memory cannot be copied: ${said === "" ? String(error) : said}`,
      {
        hint: "free some memory or disk space if this stays; templates are made anew by themselves",
        cause: error,
      },
    );
  }
}

function memoryFull(said: string, cause: unknown): PyroError {
  return new PyroError("MEMORY_FULL", `this host has no memory for a machine's memory: ${said}`, {
    hint: "free some memory, for example by stopping workspaces, then try again",
    retryable: true,
    cause,
  });
}

function diskFull(said: string, cause: unknown): PyroError {
  return new PyroError("DISK_FULL", `the disk is full: the memory of a machine cannot be saved: ${said}`, {
    hint: "free some space (`pyro env prune` removes what nothing uses), then try again",
    retryable: true,
    cause,
  });
}

function pathOf(child: Child, { fd }: { readonly fd: number | undefined }): string {
  if (fd === undefined) throw new Error("pyro-hold names no descriptor");
  return `/proc/${child.pid}/fd/${fd}`;
}

function toHeld<Facts extends object>(child: Child, facts: Facts): Facts & Held {
  let alive = true;
  void child.exited.then(() => (alive = false));
  return Object.defineProperty(
    {
      ...facts,
      alive,
      [Symbol.asyncDispose]: async () => {
        alive = false;
        await child.close();
      },
    },
    "alive",
    { get: () => alive, enumerable: true },
  );
}

async function firstLine(child: Child): Promise<string> {
  let text = "";
  for await (const chunk of child.stdout as Readable) {
    text += String(chunk);
    if (text.includes("\n") || text.length > ANSWER_BYTES) break;
  }
  return text;
}
