import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import type { PyroError } from "../../src/protocol/index.js";
import type {
  CommandExit,
  OutputChunk,
  RunningCommand,
  WorkspaceMachine,
} from "../../src/workspace/index.js";
import { guestError } from "./host-files.js";

export type StartSpec = Parameters<WorkspaceMachine["start"]>[0];

/** Waits until the signal aborts, as a call that hangs does. */
export function hang(signal?: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

/** A daemon's connection to a machine. */
export class Connection {
  readonly #ended = new AbortController();
  lose: (error: PyroError) => void = () => undefined;
  readonly lost = new Promise<PyroError>((resolve) => (this.lose = resolve));
  #cut = false;

  get isOpen(): boolean {
    return !this.#ended.signal.aborted && !this.#cut;
  }

  get isCut(): boolean {
    return this.#cut;
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  end(error: PyroError): void {
    if (!this.#cut) this.#ended.abort(error);
  }

  cut(): void {
    this.#cut = true;
  }
}

/** A command, and all it wrote. */
export class FakeProcess {
  readonly chunks: (OutputChunk & { readonly offset: number })[] = [];
  readonly #totals = { stdout: 0, stderr: 0 };
  #exit: CommandExit | undefined;
  #wake = new Set<() => void>();
  #timedOut = false;

  private constructor(private readonly child: ChildProcess) {
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream]?.on("data", (data: Buffer) => {
        this.chunks.push({ stream, data, offset: this.#totals[stream] });
        this.#totals[stream] += data.length;
        this.#notify();
      });
    }
    child.on("close", (code, signal) => {
      const how = signal === null ? { exitCode: code ?? 0 } : { signal };
      const bytes = { stdoutBytes: this.#totals.stdout, stderrBytes: this.#totals.stderr };
      this.#exit = { ...how, timedOut: this.#timedOut, outOfMemory: false, durationUs: 1500, ...bytes };
      this.#notify();
    });
  }

  static async start(spec: StartSpec, directory: string): Promise<FakeProcess> {
    const [program = "", ...args] = spec.argv.map((word) => Buffer.from(word).toString());
    const variables = spec.env.map((pair) => Buffer.from(pair).toString().split(/=(.*)/s).slice(0, 2));
    const child = spawn(program, args, {
      cwd: join(directory, spec.cwd.replace(/^\/workspace\/?/, "")),
      env: { PATH: process.env["PATH"], ...(Object.fromEntries(variables) as Record<string, string>) },
      stdio: [spec.openStdin ? "pipe" : "ignore", "pipe", "pipe"],
      detached: true,
    });
    child.stdin?.on("error", () => undefined);
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", () => reject(guestError("COMMAND_NOT_FOUND", `there is no ${program}`)));
    });
    const started = new FakeProcess(child);
    if (spec.timeoutMs !== undefined) {
      const timer = setTimeout(() => {
        started.#timedOut = true;
        started.kill();
      }, spec.timeoutMs);
      child.once("close", () => clearTimeout(timer));
    }
    return started;
  }

  kill(name: NodeJS.Signals = "SIGKILL"): void {
    if (this.#exit !== undefined || this.child.pid === undefined) return;
    try {
      process.kill(-this.child.pid, name);
    } catch {
      // It ended meanwhile.
    }
  }

  follow(from: { stdout: number; stderr: number }, connection: Connection): RunningCommand {
    let finish: (exit: CommandExit) => void = () => undefined;
    const exit = new Promise<CommandExit>((resolve) => (finish = resolve));
    const { stdin } = this.child;
    return {
      output: this.#read(from, connection, (how) => finish(how)),
      exit,
      writeInput: (data) =>
        new Promise((resolve) => {
          if (stdin === null || stdin.destroyed) resolve(false);
          else stdin.write(data, (error) => resolve(error === null || error === undefined));
        }),
      endInput: () => {
        stdin?.end();
        return Promise.resolve();
      },
      signal: (name) => {
        this.kill(name as NodeJS.Signals);
        return Promise.resolve();
      },
    };
  }

  async *#read(
    from: { stdout: number; stderr: number },
    connection: Connection,
    finish: (exit: CommandExit) => void,
  ): AsyncGenerator<OutputChunk> {
    for (let at = 0; ;) {
      if (connection.isCut) await hang();
      connection.signal.throwIfAborted();
      const chunk = this.chunks[at];
      if (chunk !== undefined) {
        at += 1;
        const data = chunk.data.subarray(Math.max(0, from[chunk.stream] - chunk.offset));
        if (data.length > 0) yield { stream: chunk.stream, data };
      } else if (this.#exit !== undefined) {
        finish(this.#exit);
        return;
      } else {
        await new Promise<void>((resolve) => {
          const go = (): void => {
            connection.signal.removeEventListener("abort", go);
            resolve();
          };
          this.#wake.add(go);
          connection.signal.addEventListener("abort", go, { once: true });
        });
      }
    }
  }

  #notify(): void {
    for (const wake of this.#wake) wake();
    this.#wake.clear();
  }
}
