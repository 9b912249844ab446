import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { freshId, readJsonFile, silentLogger, writeFileAtomic, type Logger } from "../kit/index.js";
import { LIMITS, PyroError, fromWire, type PyroErrorOptions } from "../protocol/index.js";
import { runOneShot, type OneShotResult, type OneShotSpec } from "./one-shot.js";
import { CommandOutput, type CommandOutputView } from "./command-output.js";
import type { Phase, SandboxFactory } from "./sandbox.js";
import { settled } from "./wait.js";

/** Where a started run is. */
export type RunState =
  | { readonly state: "starting"; readonly phase: Phase }
  | { readonly state: "running"; readonly phase: Phase }
  | { readonly state: "done"; readonly result: OneShotResult }
  | { readonly state: "failed"; readonly error: PyroError };

export interface RunView {
  readonly runId: string;
  readonly environment: string;
  readonly state: RunState;
  readonly output: CommandOutputView | undefined;
}

interface Run {
  readonly id: string;
  readonly environment: string;
  readonly output: CommandOutput;
  readonly abort: AbortController;
  state: RunState;
  /** Settles, never rejects, when the run is over and recorded. */
  finished: Promise<void>;
  expiry?: NodeJS.Timeout;
}

const FORMAT = 2;

interface SavedRun {
  readonly format: number;
  readonly environment: string;
  readonly finishedAtMs: number;
  readonly result?: OneShotResult;
  readonly error?: { readonly code: string; readonly message: string } & PyroErrorOptions;
}

/**
 * One-shots without a caller that stays. A directory per run holds its output and, once it is over, its record: so a
 * finished run survives the daemon; an unfinished one ends with it. Kept for LIMITS.runRetentionMs.
 */
export class RunRegistry implements AsyncDisposable {
  readonly #runs = new Map<string, Run>();

  constructor(
    private readonly directory: string,
    private readonly factory: SandboxFactory,
    private readonly log: Logger = silentLogger,
  ) {}

  /** Runs that have not ended. */
  get activeCount(): number {
    return [...this.#runs.values()].filter(({ state }) => !isOver(state)).length;
  }

  /** Takes over what an earlier daemon finished, and removes the rest. Called once, before anything else. */
  async recover(): Promise<void> {
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    for (const id of await readdir(this.directory)) {
      const path = join(this.directory, id);
      const saved = (await readJsonFile(join(path, "record.json"))) as SavedRun | undefined;
      const restMs = saved === undefined ? 0 : saved.finishedAtMs + LIMITS.runRetentionMs - Date.now();
      const usable = saved?.format === FORMAT && restMs > 0 && restMs <= LIMITS.runRetentionMs;
      if (!usable) await rm(path, { recursive: true, force: true });
      else await this.#reopen(id, path, saved, restMs);
    }
  }

  async #reopen(id: string, path: string, saved: SavedRun, restMs: number): Promise<void> {
    const { error, result } = saved;
    const state: RunState | undefined =
      result !== undefined
        ? { state: "done", result }
        : error !== undefined
          ? { state: "failed", error: fromWire(error.code, error.message, error) }
          : undefined;
    if (state === undefined) return;
    const output = await CommandOutput.reopen(join(path, "output"));
    const run: Run = {
      id,
      environment: saved.environment,
      output,
      abort: new AbortController(),
      state,
      finished: Promise.resolve(),
    };
    this.#runs.set(id, run);
    this.#expireAfter(run, restMs);
  }

  /** Starts the command, in a machine of the usual factory or another, and returns at once. */
  async start(spec: OneShotSpec, factory = this.factory): Promise<RunView> {
    const id = freshId("run");
    const path = join(this.directory, id);
    await mkdir(path, { mode: 0o700 });
    const run: Run = {
      id,
      environment: spec.environment,
      output: await CommandOutput.create(join(path, "output")),
      abort: new AbortController(),
      state: { state: "starting", phase: { phase: "queued", message: "waiting for a machine" } },
      finished: Promise.resolve(),
    };
    this.#runs.set(id, run);
    run.finished = this.#run(run, spec, factory);
    return this.#view(run, 0, 0);
  }

  async #run(run: Run, spec: OneShotSpec, factory: SandboxFactory): Promise<void> {
    try {
      const result = await runOneShot(
        factory,
        spec,
        {
          openStdin: false,
          whenUnread: "drop-oldest",
          onPhase: (phase) => {
            run.state = { state: phase.phase === "running" ? "running" : "starting", phase };
          },
          onOutput: async (stream, data) => {
            await run.output.append(stream, data);
          },
        },
        run.abort.signal,
      );
      run.state = { state: "done", result };
    } catch (error) {
      run.state = { state: "failed", error: PyroError.from(error) };
    }
    // From now on it is only read.
    await run.output[Symbol.asyncDispose]();
    await this.#record(run).catch((error: unknown) => {
      this.log.error("run.record", { run: run.id, error: String(error) });
    });
    this.#expireAfter(run, LIMITS.runRetentionMs);
  }

  async #record(run: Run): Promise<void> {
    const { state } = run;
    const saved: SavedRun = {
      format: FORMAT,
      environment: run.environment,
      finishedAtMs: Date.now(),
      ...(state.state === "done" ? { result: state.result } : {}),
      ...(state.state === "failed" ? { error: state.error.toJSON() as SavedRun["error"] & object } : {}),
    };
    await writeFileAtomic(join(this.directory, run.id, "record.json"), JSON.stringify(saved));
  }

  /**
   * The run's state and output from `offset` on, after waiting up to `waitMs` for its end.
   * @throws {PyroError} RUN_NOT_FOUND
   */
  async read(
    id: string,
    options: { offset: number; maxBytes: number; waitMs: number; signal: AbortSignal },
  ): Promise<RunView> {
    const run = this.#find(id);
    if (options.waitMs > 0 && !isOver(run.state)) await settled(run.finished, options.waitMs, options.signal);
    return this.#view(run, options.offset, options.maxBytes);
  }

  /** Ends the run's machine; a run that is over stays as it is. */
  async cancel(id: string): Promise<RunView> {
    const run = this.#find(id);
    run.abort.abort(
      new PyroError("CANCELLED", `run ${id} was cancelled`, { hint: "start it again with vm_run" }),
    );
    await run.finished;
    return this.#view(run, 0, 0);
  }

  #find(id: string): Run {
    const run = this.#runs.get(id);
    if (run !== undefined) return run;
    throw new PyroError("RUN_NOT_FOUND", `no run ${JSON.stringify(id.slice(0, 80))} is known`, {
      hint: "runs are kept for 10 minutes after their end, and an unfinished one ends with its daemon: start it again",
    });
  }

  async #view(run: Run, offset: number, maxBytes: number): Promise<RunView> {
    const output = maxBytes > 0 ? await run.output.view(offset, maxBytes) : undefined;
    return { runId: run.id, environment: run.environment, state: run.state, output };
  }

  #expireAfter(run: Run, ms: number): void {
    run.expiry = setTimeout(() => {
      this.#runs.delete(run.id);
      void run.output[Symbol.asyncDispose]();
      void rm(join(this.directory, run.id), { recursive: true, force: true });
    }, ms);
    run.expiry.unref();
  }

  /** Ends what runs; finished records stay on disk for the next daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const run of this.#runs.values()) {
      run.abort.abort(
        new PyroError("DAEMON_STOPPING", "the daemon stops", { retryable: true, hint: "start it again" }),
      );
    }
    for (const run of this.#runs.values()) {
      await run.finished;
      clearTimeout(run.expiry);
      await run.output[Symbol.asyncDispose]();
    }
    this.#runs.clear();
  }
}

function isOver({ state }: RunState): boolean {
  return state === "done" || state === "failed";
}
