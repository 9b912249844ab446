import type { Readable } from "node:stream";
import { baseEnvironment, launch, LaunchError, type Child, type ChildExit } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";

export interface ProgramOptions {
  readonly signal: AbortSignal;
  readonly cwd?: string;
  /** Added to the minimal environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** A descriptor, or text that is written to the program. */
  readonly stdin?: number | string;
  /** Bound of the collected output; beyond it the program is ended. */
  readonly maxBytes?: number;
}

/** What a program printed, one character per byte, and how it ended. */
export interface ProgramResult extends ChildExit {
  readonly stdout: string;
}

/**
 * Starts a program of the host. It gets TERM when this process dies, however that happens.
 * @throws {PyroError} HOST_TOOL_NOT_FOUND
 */
export async function startProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<Child> {
  options.signal.throwIfAborted();
  const piped = typeof options.stdin === "string" ? "pipe" : (options.stdin ?? "ignore");
  try {
    return await launch("setpriv", ["--pdeathsig", "TERM", "--", program, ...args], {
      env: { ...baseEnvironment(), ...options.env },
      stdin: piped,
      stdout: "pipe",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
  } catch (error) {
    if (error instanceof LaunchError && error.code === "ENOENT") throw missingProgram("setpriv");
    throw error;
  }
}

/**
 * Runs a program to its end; a non-zero exit is a result.
 * @throws {PyroError} HOST_TOOL_NOT_FOUND, SEED_TOO_LARGE
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: ProgramOptions,
): Promise<ProgramResult> {
  await using child = await startProgram(program, args, options);
  using _ = ended(child, options.signal);
  // A program that leaves early breaks the pipe; its exit says why.
  child.stdin?.on("error", () => undefined).end(options.stdin, "latin1");
  const [stdout, exit] = await Promise.all([
    collect(child, options.maxBytes ?? 1024 * 1024, `${program} ${args[0] ?? ""}`),
    child.exited,
  ]);
  options.signal.throwIfAborted();
  if (programIsMissing(program, exit)) throw missingProgram(program);
  return { ...exit, stdout };
}

/** Ends the program when the signal is aborted. */
export function ended(child: Child, signal: AbortSignal): Disposable {
  const end = (): void => void child.close();
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", end) };
}

async function collect(child: Child, maxBytes: number, what: string): Promise<string> {
  if (child.stdout === null) return "";
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of child.stdout as Readable & AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      await child.close();
      throw new PyroError("SEED_TOO_LARGE", `${what} says more than ${maxBytes} bytes`, {
        hint: "seed a part of it: `--seed-path DIR`",
        details: { limit: maxBytes },
      });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("latin1");
}

/** setpriv leaves with 127 and says that it could not execute it. */
export function programIsMissing(program: string, exit: ChildExit): boolean {
  return exit.code === 127 && exit.stderrTail.includes(`failed to execute ${program}`);
}

const PACKAGES: Readonly<Record<string, string>> = { setpriv: "util-linux" };

export function missingProgram(program: string): PyroError {
  const from = PACKAGES[program] ?? program;
  return new PyroError("HOST_TOOL_NOT_FOUND", `this host lacks ${program}`, {
    hint: `sudo apt-get install -y ${from}`,
    details: { programs: [program], packages: [from] },
  });
}
