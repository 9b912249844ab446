import { PyroError } from "../protocol/index.js";
import type { CommandOutput } from "./command-output.js";
import type { OutputChunk, RunningCommand } from "./sandbox.js";

/** How soon it is tried again where the host's disk is full. */
const ROOM_MS = 500;
const STREAMS = ["stdout", "stderr"] as const;

/** How a command ended; both `exitCode` and `signal` are null only where it was interrupted. */
export interface CommandEnd {
  readonly exitCode: number | null;
  readonly signal: string | null;
  readonly timedOut: boolean;
  readonly outOfMemory: boolean;
  readonly durationUs: number;
}

/** What is recorded of a command. */
export interface CommandFacts {
  readonly sequence: number;
  /** For people: the shell line, or the words of the argv, quoted where they need it. */
  readonly command: string;
  readonly cwd: string;
  /** Names of the secrets that it was given. */
  readonly secrets?: readonly string[] | undefined;
  readonly startedAtMs: number;
  readonly exit?: CommandEnd | undefined;
  readonly interrupted?: string | undefined;
}

/** Takes output as it comes; the command's next output waits until it resolves. */
export type OutputListener = (stream: OutputChunk["stream"], data: Uint8Array) => Promise<void>;

/** A command of a workspace: it runs on without whoever started it, and its output is kept. */
export class WorkspaceCommand {
  readonly #save: (facts: CommandFacts) => Promise<void>;
  #facts: CommandFacts;
  #running: RunningCommand | undefined;
  #listener: OutputListener | undefined;
  #onDone: () => void = () => undefined;
  #onHeard: () => void = () => undefined;
  #isLetGo = false;
  /** Counts who follows it: one whose machine was suspended is followed anew later. */
  #turn = 0;
  #following: Promise<void> = Promise.resolve();
  #appending: Promise<void> = Promise.resolve();
  /** Resolves, never rejects, when it is over and recorded. */
  readonly done: Promise<void>;

  constructor(
    facts: CommandFacts,
    readonly output: CommandOutput,
    save: (facts: CommandFacts) => Promise<void>,
  ) {
    this.#facts = facts;
    this.#save = save;
    this.done = new Promise((resolve) => (this.#onDone = resolve));
    if (!this.isRunning) this.#onDone();
  }

  get facts(): CommandFacts {
    return this.#facts;
  }

  get sequence(): number {
    return this.#facts.sequence;
  }

  /** By which the agent knows it. */
  get processId(): string {
    return `command-${this.sequence}`;
  }

  get isRunning(): boolean {
    return this.#facts.exit === undefined && this.#facts.interrupted === undefined;
  }

  /** The command in its machine, for input and signals; undefined where it is over or not followed. */
  get live(): RunningCommand | undefined {
    return this.isRunning ? this.#running : undefined;
  }

  /** Hands output to a listener from now on; disposing of the result lets it go on without. One at a time. */
  listen(listener: OutputListener): Disposable {
    this.#listener = listener;
    this.#onHeard();
    return {
      [Symbol.dispose]: () => {
        if (this.#listener === listener) this.#listener = undefined;
      },
    };
  }

  /**
   * Keeps what it writes, until it ends; settles, never rejects. With a grace it takes the first output when somebody
   * listens, or after so many milliseconds.
   */
  async follow(running: RunningCommand, graceMs = 0): Promise<void> {
    this.#running = running;
    this.#turn += 1;
    const turn = this.#turn;
    this.#following = this.#follow(running, graceMs, () => turn === this.#turn);
    await this.#following;
  }

  /**
   * Leaves a command that stands still with its machine: it is neither over nor followed until `follow` is called anew.
   * Resolves when nothing more is taken in.
   */
  async leave(): Promise<void> {
    this.#turn += 1;
    this.#running = undefined;
    await this.#appending;
  }

  async #follow(running: RunningCommand, graceMs: number, isFollowed: () => boolean): Promise<void> {
    const before = this.#following;
    try {
      await before;
      await this.#heard(graceMs);
      for await (const { stream, data } of running.output) {
        if (!isFollowed()) return;
        this.#appending = this.#show(stream, this.output.take(stream, data));
        await this.#appending;
      }
      if (!isFollowed()) return;
      for (const stream of STREAMS) await this.#show(stream, this.output.takeRest(stream));
      const { exitCode = null, signal = null, timedOut, outOfMemory, durationUs } = await running.exit;
      const exit = { exitCode, signal, timedOut, outOfMemory, durationUs };
      await this.#end({ exit });
    } catch (thrown) {
      if (isFollowed()) await this.interrupt(PyroError.from(thrown).message);
    }
  }

  /** Stores what may be shown, and hands it on. */
  async #show(stream: OutputChunk["stream"], shown: Uint8Array): Promise<void> {
    await this.#whenThereIsRoom(() => this.output.store(stream, shown));
    if (shown.length > 0) await this.#listener?.(stream, shown);
  }

  async #heard(graceMs: number): Promise<void> {
    if (graceMs === 0 || this.#listener !== undefined) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onHeard = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /**
   * Tries until the host's disk has room, unless it is ended or let go meanwhile: its program waits with it, as with a
   * slow reader, and nothing of what it wrote is lost.
   */
  async #whenThereIsRoom(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await work();
        return;
      } catch (error) {
        if (!isDiskFull(error) || this.#facts.interrupted !== undefined || this.#isLetGo) throw error;
        await new Promise((resolve) => setTimeout(resolve, ROOM_MS));
      }
    }
  }

  /** Leaves it to the next daemon, for which it runs on: whatever happens now is not recorded. */
  letGo(): void {
    this.#isLetGo = true;
  }

  /** Says that it ended without an exit, and why. */
  async interrupt(reason: string): Promise<void> {
    await this.#end({ interrupted: this.output.redactor.text(reason) });
  }

  /** The first end is the one that counts: one that was stopped on purpose may still report an exit. */
  async #end(how: Pick<CommandFacts, "exit" | "interrupted">): Promise<void> {
    if (!this.isRunning || this.#isLetGo) return;
    const facts = { ...this.#facts, ...how };
    this.#facts = facts;
    this.#running = undefined;
    try {
      // Of one that was ended from elsewhere, something may be held back; a full disk loses it.
      for (const stream of STREAMS)
        await this.output.store(stream, this.output.takeRest(stream)).catch(() => undefined);
      // From now on it is only read.
      await this.output[Symbol.asyncDispose]();
      await this.#save(facts);
    } catch (error) {
      if (!isDiskFull(error) || facts.exit === undefined) throw error;
      // Known, but not recorded: until it is, a next daemon finds it in its machine, where it is not forgotten.
      this.#onDone();
      await this.#whenThereIsRoom(() => this.#save(facts));
    } finally {
      this.#onDone();
    }
  }
}

function isDiskFull(error: unknown): boolean {
  return PyroError.from(error).code === "DISK_FULL";
}
