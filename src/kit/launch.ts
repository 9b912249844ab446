import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import type { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";

/** How a child ended: exactly one of `code` and `signal` is set. */
export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last bytes of its standard error, for the error message. */
  readonly stderrTail: string;
}

export interface LaunchOptions {
  readonly cwd?: string;
  /** The whole environment of the child; nothing is inherited. Default: PATH, LANG and HOME only. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: "ignore" | "pipe" | number;
  readonly stdout?: "ignore" | "pipe" | number;
  /** With "pipe" the last bytes are kept for the error; a number is a descriptor the child writes to. */
  readonly stderr?: "ignore" | "pipe" | number;
  /** Descriptors the child inherits as 3, 4, … */
  readonly extraDescriptors?: readonly number[];
  /** Time between TERM and KILL when it is closed; 0 kills at once. */
  readonly graceMs?: number;
  /** The child and its group outlive this process: a VM outlives its daemon. */
  readonly outlives?: boolean;
  /** Stays in this process's group and session, for a program that asks the user on the terminal. */
  readonly foreground?: boolean;
}

const STDERR_TAIL_BYTES = 16 * 1024;

/** A running child in a process group of its own. Closing it ends the whole group. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly exited: Promise<ChildExit>;
  /** The last bytes of its standard error so far, where that is a pipe. */
  stderrTail(): string;
  /** Sends a signal to the group; false when it is gone. */
  signal(name: NodeJS.Signals): boolean;
  /** TERM, grace, KILL to the group; idempotent; resolves when the child is reaped. */
  close(): Promise<ChildExit>;
}

/** The child could not be started: the program is missing, or the system refused. `code` is the errno's name. */
export class LaunchError extends Error {
  override readonly name = "LaunchError";
  constructor(
    readonly program: string,
    readonly code: string,
    cause: unknown,
  ) {
    super(`cannot start ${program}: ${code}`, { cause });
  }
}

/** The minimal environment that host tools need; no other variable of the user reaches a child. */
export function baseEnvironment(): Record<string, string> {
  const env: Record<string, string> = { LANG: "C.UTF-8" };
  for (const name of ["PATH", "HOME"]) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  // Some distributions keep tools there, and an ordinary user's PATH often lacks them.
  env["PATH"] = `${env["PATH"] ?? "/usr/bin:/bin"}:/usr/local/sbin:/usr/sbin:/sbin`;
  return env;
}

/**
 * Starts a program: argv only, never a shell, own process group. The only place of pyro that spawns.
 * @throws {LaunchError} when the program cannot be started
 */
export async function launch(
  program: string,
  args: readonly string[],
  options: LaunchOptions = {},
): Promise<Child> {
  const stdio: StdioOptions = [
    options.stdin ?? "ignore",
    options.stdout ?? "ignore",
    options.stderr ?? "pipe",
    ...(options.extraDescriptors ?? []),
  ];
  let child: ChildProcess;
  try {
    child = spawn(program, args, {
      cwd: options.cwd,
      env: options.env ?? baseEnvironment(),
      stdio,
      detached: options.foreground !== true,
    });
  } catch (error) {
    throw new LaunchError(program, (error as NodeJS.ErrnoException).code ?? "EINVAL", error);
  }
  const tail = keepTail(child.stderr);
  const exited = new Promise<ChildExit>((resolve) => {
    // "close" comes after the pipes are drained, unless a grandchild holds them: then exit must do.
    let fallback: NodeJS.Timeout | undefined;
    const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
      clearTimeout(fallback);
      resolve({ code, signal, stderrTail: tail() });
    };
    child.once("close", finish);
    child.once("exit", (code, signal) => {
      fallback = setTimeout(() => finish(code, signal), 250);
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (error: NodeJS.ErrnoException) => {
      reject(new LaunchError(program, error.code ?? "EIO", error));
    });
  });
  child.on("error", () => undefined);
  if (options.outlives === true) {
    child.unref();
    // Its pipe too: it must not keep this process from leaving.
    (child.stderr as Socket | null)?.unref();
  }
  return toChild(child, exited, tail, options);
}

function toChild(
  child: ChildProcess,
  exited: Promise<ChildExit>,
  stderrTail: () => string,
  { graceMs = 2_000, foreground = false }: LaunchOptions,
): Child {
  const pid = child.pid;
  if (pid === undefined) throw new LaunchError(child.spawnfile, "ESRCH", undefined);
  const signal = (name: NodeJS.Signals): boolean => sendSignal(foreground ? pid : -pid, name);
  let closing: Promise<ChildExit> | undefined;
  const close = (): Promise<ChildExit> => {
    closing ??= (async () => {
      // Whoever closes it waits for its end, also of one that was to outlive us.
      child.ref();
      if (graceMs > 0 && signal("SIGTERM")) {
        const timer = setTimeout(() => signal("SIGKILL"), graceMs);
        await exited;
        clearTimeout(timer);
      }
      // Also when the leader is gone: others of its group may live.
      signal("SIGKILL");
      return exited;
    })();
    return closing;
  };
  return {
    pid,
    stdin: child.stdin,
    stdout: child.stdout,
    exited,
    stderrTail,
    signal,
    close,
    [Symbol.asyncDispose]: async () => {
      await close();
    },
  };
}

function sendSignal(target: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(target, name);
    return true;
  } catch {
    return false;
  }
}

function keepTail(stream: Readable | null): () => string {
  let kept = Buffer.alloc(0);
  stream?.on("data", (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]).subarray(-STDERR_TAIL_BYTES);
  });
  return () => kept.toString("utf8");
}

/** What a finished program printed. */
export interface Completed extends ChildExit {
  readonly stdout: string;
}

/**
 * Runs a short program to its end and gives its output, at most `maxBytes` of it; `input` is its standard input.
 * @throws {LaunchError} when it cannot be started; a non-zero exit is a result, not an error
 */
export async function complete(
  program: string,
  args: readonly string[],
  options: LaunchOptions & {
    readonly signal?: AbortSignal;
    readonly maxBytes?: number;
    readonly input?: string;
  } = {},
): Promise<Completed> {
  options.signal?.throwIfAborted();
  const { input } = options;
  const stdin = input === undefined ? {} : ({ stdin: "pipe" } as const);
  await using child = await launch(program, args, { ...options, ...stdin, stdout: "pipe" });
  // A program may end without reading it.
  child.stdin?.on("error", () => undefined);
  if (input !== undefined) child.stdin?.end(input);
  const abort = (): void => void child.close();
  options.signal?.addEventListener("abort", abort, { once: true });
  const chunks: Buffer[] = [];
  let room = options.maxBytes ?? 1024 * 1024;
  child.stdout?.on("data", (chunk: Buffer) => {
    if (room > 0) chunks.push(chunk.subarray(0, room));
    room -= chunk.length;
  });
  const exit = await child.exited;
  options.signal?.removeEventListener("abort", abort);
  options.signal?.throwIfAborted();
  return { ...exit, stdout: Buffer.concat(chunks).toString("utf8") };
}
