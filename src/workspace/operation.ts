import { PyroError } from "../protocol/index.js";
import type { Phase } from "./sandbox.js";
import type { Transferred } from "./transfer.js";
import { settled } from "./wait.js";

/** How far an operation is. */
export type Report = (phase: Pick<Phase, "message" | "progress">) => void;

/** What takes long enough to be waited for. */
export type OperationKind =
  | "create"
  | "start"
  | "stop"
  | "reset"
  | "snapshot"
  | "fork"
  | "disk_read"
  | "disk_export"
  | "save"
  | "sync_push"
  | "export";

/** What goes on in a workspace, or went on last. */
export interface OperationView {
  readonly kind: OperationKind;
  readonly state: "running" | "done" | "failed";
  readonly message: string;
  /** 0 to 1 where it is known. */
  readonly progress: number | undefined;
  readonly error: PyroError | undefined;
  /** What came of it, where that is more than the workspace itself. */
  readonly transferred: Transferred | undefined;
}

/**
 * Work of the daemon's own that goes on whoever waits for it. Its progress can be looked at, and its end be waited for.
 */
export class Operation<T> {
  #message = "begins";
  #progress: number | undefined;
  #state: OperationView["state"] = "running";
  #error: PyroError | undefined;
  #transferred: Transferred | undefined;
  readonly result: Promise<T>;

  constructor(
    readonly kind: OperationKind,
    work: (report: Report) => Promise<T>,
    keep?: (result: T) => Transferred,
  ) {
    this.result = this.#run(work, keep);
    // Whoever waits meets the error; nobody may wait.
    this.result.catch(() => undefined);
  }

  get view(): OperationView {
    return {
      ...{ kind: this.kind, state: this.#state, message: this.#message },
      ...{ progress: this.#progress, error: this.#error, transferred: this.#transferred },
    };
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  /** Waits for its end, at most so long, and not beyond the caller; never rejects. */
  async settle(waitMs: number, signal: AbortSignal): Promise<void> {
    if (this.isRunning) await settled(this.result, waitMs, signal);
  }

  async #run(
    work: (report: Report) => Promise<T>,
    keep: ((result: T) => Transferred) | undefined,
  ): Promise<T> {
    try {
      const result = await work(({ message, progress }) => {
        this.#message = message;
        this.#progress = progress;
      });
      this.#transferred = keep?.(result);
      this.#state = "done";
      this.#message = "done";
      return result;
    } catch (thrown) {
      this.#error = PyroError.from(thrown);
      this.#state = "failed";
      this.#message = this.#error.message;
      throw this.#error;
    }
  }
}

/** The end of what may bring a machine. Its error is its own caller's, unless it is about the machine itself. */
export async function machineOf({ kind, result }: Operation<unknown>): Promise<unknown> {
  if (kind === "create" || kind === "start" || kind === "reset") return await result;
  return await result.catch(() => undefined);
}
