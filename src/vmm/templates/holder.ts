import type { Readable } from "node:stream";
import * as z from "zod";
import { launch, within, type Child } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { SavedMachine } from "../driver.js";
import { lastLines } from "../printable.js";

export interface HeldFile {
  /** Over the file's size and each page of it that is not zero (guest/cmd/pyro-hold). */
  readonly sha256: string;
  readonly sizeBytes: number;
  /** What of it is not zero: what it occupies in memory. */
  readonly usedBytes: number;
}

export interface HeldDigests {
  readonly memory: HeldFile;
  readonly state: HeldFile;
}

/** A template in memory that nobody can change, held by a process of its own until it is disposed of. */
export interface Holder extends AsyncDisposable {
  readonly digests: HeldDigests;
  /** The copies; they stay with the machines that lie on them when the holder goes. */
  readonly saved: SavedMachine;
  /** False once the process is gone, however it went. */
  readonly alive: boolean;
}

const fileSchema = z
  .object({ fd: z.number().int(), sha256: z.string(), size_bytes: z.number(), used_bytes: z.number() })
  .transform(({ fd, sha256, size_bytes, used_bytes }) => ({
    fd,
    sha256,
    sizeBytes: size_bytes,
    usedBytes: used_bytes,
  }));
const answerSchema = z.object({ memory: fileSchema, state: fileSchema });

/** Its exit status when the host has no memory for the copies (guest/cmd/pyro-hold). */
const NO_MEMORY = 3;
/** It answers with one line of some 400 bytes. */
const ANSWER_BYTES = 4096;

/**
 * Copies a template's files into sealed memory, and tells their digests. The holder ends with this process.
 * @throws {PyroError} TEMPLATE_DAMAGED when a file cannot be read, or the holder answers nonsense; MEMORY_FULL when the
 *   host has no memory for it, and the files may be as good as ever; the signal's reason
 */
export async function holdTemplate(
  program: string,
  files: SavedMachine,
  signal?: AbortSignal,
): Promise<Holder> {
  signal?.throwIfAborted();
  const child = await launch(program, [files.memoryFile, files.stateFile], {
    stdin: "pipe",
    stdout: "pipe",
    graceMs: 0,
  });
  try {
    child.stdin?.on("error", () => undefined);
    const line = await within(firstLine(child), LIMITS.holdTimeoutMs, "pyro-hold", signal);
    return toHolder(child, answerSchema.parse(JSON.parse(line)));
  } catch (error) {
    const { code, stderrTail } = await child.close();
    signal?.throwIfAborted();
    const said = lastLines(stderrTail, 2);
    if (code === NO_MEMORY) throw memoryFull(said, error);
    throw new PyroError(
      "TEMPLATE_DAMAGED",
      `a memory template cannot be taken into memory: ${said === "" ? String(error) : said}`,
      { hint: "it is made anew by itself; free some memory or disk space if this stays", cause: error },
    );
  }
}

function memoryFull(said: string, cause: unknown): PyroError {
  return new PyroError("MEMORY_FULL", `this host has no memory for a memory template: ${said}`, {
    hint: "free some memory; machines boot without the template meanwhile, which takes longer",
    retryable: true,
    cause,
  });
}

function toHolder(child: Child, { memory, state }: z.infer<typeof answerSchema>): Holder {
  let alive = true;
  void child.exited.then(() => (alive = false));
  return {
    digests: { memory, state },
    saved: {
      memoryFile: `/proc/${child.pid}/fd/${memory.fd}`,
      stateFile: `/proc/${child.pid}/fd/${state.fd}`,
    },
    get alive() {
      return alive;
    },
    [Symbol.asyncDispose]: async () => {
      alive = false;
      await child.close();
    },
  };
}

async function firstLine(child: Child): Promise<string> {
  let text = "";
  for await (const chunk of child.stdout as Readable) {
    text += String(chunk);
    if (text.includes("\n") || text.length > ANSWER_BYTES) break;
  }
  return text;
}
