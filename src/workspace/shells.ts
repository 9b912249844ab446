import { freshId, untilAborted } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { absolutePath, readsProfile, terminalEnvironment, userOf } from "./command-line.js";
import type { EnvironmentConfig } from "./environment-config.js";
import { explainEnd } from "./loss.js";
import type { MachineShell, ShellIdleness, ShellPiece, ShellReading } from "./machine-shells.js";
import { findShell, inputFull, noShells, requireSignal, requireSize } from "./shell-arguments.js";
import { maskedPieces } from "./shell-masking.js";
import { beyond, ShellScreens } from "./shell-screens.js";
import type { Redactor, SecretEnv, SecretHolders, WorkspaceSecrets } from "./secrets/index.js";
import type { WorkspaceMachine } from "./workspace-machine.js";

export type ShellState = "running" | "exited" | "closed";

/** A shell of a workspace; it lives in its machine, which is asked each time. */
export interface OpenedShell extends Omit<MachineShell, "isRunning"> {
  readonly state: ShellState;
}

export interface ShellReadRequest {
  /** First byte of interest. */
  readonly cursor: number;
  /** Bound of the output, in bytes, or with `plain` in characters. */
  readonly maxChars: number;
  readonly plain: boolean;
  /** 0: does not wait. */
  readonly waitForIdleMs: number;
  readonly waitMs: number;
}

/** What a terminal showed. */
export interface ShellOutput {
  readonly shell: OpenedShell;
  /** The bytes themselves, or what a person would see as UTF-8. */
  readonly output: Uint8Array;
  readonly cursor: number;
  readonly nextCursor: number;
  readonly isTruncated: boolean;
  /** Bytes from the cursor on that are gone. */
  readonly droppedBytes: number;
  readonly idle: ShellIdleness | undefined;
}

/** What shells need of their workspace. */
interface ShellOwner {
  readonly id: string;
  readonly record: { readonly state: string; readonly config: EnvironmentConfig | null };
  readonly operation: { readonly state: string } | undefined;
  readonly runningMachine: WorkspaceMachine | undefined;
  readonly secrets: WorkspaceSecrets;
  readonly secretHolders: SecretHolders;
  readonly signal: AbortSignal;
  machine(signal: AbortSignal): Promise<WorkspaceMachine>;
  touch(): Promise<void>;
}

const DEFAULT_SIZE = { cols: 120, rows: 30 } as const;

/**
 * The shells of one workspace. The machine has them, and keeps what they showed: a daemon that comes later finds them
 * there. They end with the machine: at stop, reset and delete.
 */
export class Shells {
  readonly #workspace: ShellOwner;
  readonly #screens = new ShellScreens();
  #attached = 0;

  constructor(workspace: ShellOwner) {
    this.#workspace = workspace;
  }

  /** Terminals of people that are attached now. */
  get attached(): number {
    return this.#attached;
  }

  /** Counts an attached terminal until the result is disposed of. */
  attach(): Disposable {
    this.#attached += 1;
    return { [Symbol.dispose]: () => void (this.#attached -= 1) };
  }

  /** Their machine is gone. */
  clear(): void {
    this.#screens.clear();
  }

  /**
   * Opens a shell; a workspace that stopped by itself starts again for it.
   * @throws {PyroError} INVALID_ARGUMENT, COMMAND_NOT_FOUND, NO_SHELL_IN_ENVIRONMENT, GUEST_USER_NOT_FOUND, WORKING_DIRECTORY_NOT_FOUND, GUEST_PROCESS_LIMIT for more
   *   than `LIMITS.shellsPerWorkspace`, what a start throws
   */
  async open(
    request: {
      readonly cwd: string;
      readonly cols: number;
      readonly rows: number;
      readonly argv: readonly Uint8Array[];
      /** Secrets of the workspace that it is given: {secret: variable}. */
      readonly secretEnv?: SecretEnv;
    },
    signal: AbortSignal,
  ): Promise<OpenedShell> {
    const size = requireSize(request.cols || DEFAULT_SIZE.cols, request.rows || DEFAULT_SIZE.rows);
    const cwd = absolutePath(request.cwd);
    const { secrets, secretHolders } = this.#workspace;
    const given = secrets.environment(request.secretEnv ?? {});
    const machine = await this.#workspace.machine(signal);
    const { config } = this.#workspace.record;
    const env = terminalEnvironment(given.entries, config);
    const asked = { argv: request.argv, env, cwd, ...userOf(config), noLogin: !readsProfile(config) };
    const shellId = freshId("sh");
    await secretHolders.begin(shellId, { kind: "shell", name: shellId, secrets: given.names });
    try {
      const opened = await this.#explained(machine, () =>
        machine.shells.open({ shellId, ...asked, ...size }),
      );
      await this.#workspace.touch();
      return this.#toOpened(opened);
    } finally {
      // One that was not opened is let go of at the next look.
      secretHolders.answered(shellId);
    }
  }

  /** In the order in which they were opened; none where the workspace does not run. */
  async list(signal: AbortSignal): Promise<readonly OpenedShell[]> {
    const machine = await this.#running(signal).catch((error: unknown) => {
      if (error instanceof PyroError && error.code === "SHELL_NOT_FOUND") return undefined;
      throw error;
    });
    if (machine === undefined) return [];
    return (await this.#all(machine)).map((shell) => this.#toOpened(shell));
  }

  /**
   * What the terminal showed from the cursor on; or with `plain` the lines that left the screen since the cursor, then
   * the screen.
   */
  async read(reference: string, request: ShellReadRequest, signal: AbortSignal): Promise<ShellOutput> {
    const { machine, shellId } = await this.#find(reference, signal);
    const { cursor, plain, waitForIdleMs, waitMs } = request;
    const maxChars = Math.min(request.maxChars || LIMITS.shellOutputBytes, LIMITS.shellOutputBytes);
    const waiting = {
      signal,
      waitForIdleMs: Math.min(waitForIdleMs, LIMITS.shellQuietMs),
      maxWaitMs: Math.min(waitMs || LIMITS.shellWaitMs, LIMITS.shellWaitMs),
    };
    return await this.#explained(machine, async () =>
      plain
        ? await this.#readScreen(machine, shellId, cursor, maxChars, waiting)
        : await this.#readRaw(
            this.bytes(machine, shellId, { ...waiting, offset: cursor, maxBytes: maxChars }),
            cursor,
          ),
    );
  }

  /** The bytes from the cursor on, as many as were asked for. */
  async #readRaw(pieces: AsyncIterable<ShellPiece>, cursor: number): Promise<ShellOutput> {
    const parts: Uint8Array[] = [];
    let droppedBytes = 0;
    let at = cursor;
    for await (const piece of pieces) {
      if (piece.kind === "data") {
        droppedBytes += piece.offset - at;
        at = piece.offset + piece.data.length;
        parts.push(piece.data);
      } else if (piece.kind === "end") {
        const { shell, idle } = piece;
        if (cursor > shell.totalBytes) throw beyond(cursor, shell.totalBytes);
        const isTruncated = droppedBytes > 0 || at < shell.totalBytes;
        const facts = { shell: this.#toOpened(shell), output: Buffer.concat(parts), cursor, idle };
        return { ...facts, nextCursor: at, isTruncated, droppedBytes };
      }
    }
    throw new PyroError("GUEST_PROTOCOL_ERROR", "a read of a shell ended without its state");
  }

  #toOpened(shell: MachineShell): OpenedShell {
    return toOpened(shell, this.#workspace.secrets.redactor);
  }

  async #readScreen(
    machine: WorkspaceMachine,
    shellId: string,
    cursor: number,
    maxChars: number,
    waiting: Omit<ShellReading, "offset">,
  ): Promise<ShellOutput> {
    const drawn = await this.drawn(machine, shellId, cursor, waiting);
    using screen = drawn.screen;
    const { text, isCut } = screen.value.text(cursor, maxChars, this.#workspace.secrets.redactor);
    const { shell, idle } = drawn.end;
    const droppedBytes = Math.max(0, shell.firstByte - cursor);
    const facts = { shell: this.#toOpened(shell), output: Buffer.from(text), cursor, idle };
    return { ...facts, nextCursor: screen.value.end, isTruncated: isCut, droppedBytes };
  }

  /** The screen of a shell as it is now, for the caller alone until it is disposed of. */
  async drawn(
    machine: WorkspaceMachine,
    shellId: string,
    cursor: number,
    waiting: Omit<ShellReading, "offset">,
  ): ReturnType<ShellScreens["draw"]> {
    const { signal, waitForIdleMs = 0 } = waiting;
    const reading = signal === undefined ? {} : { signal };
    const reads = {
      from: (offset: number) => this.bytes(machine, shellId, { ...reading, offset }),
      // A byte, because there has to be a bound: what counts is how it ends.
      idle:
        waitForIdleMs === 0
          ? undefined
          : () => this.bytes(machine, shellId, { ...waiting, offset: cursor, maxBytes: 1 }),
    };
    return await this.#screens.draw(shellId, cursor, reads, signal);
  }

  /** Types. @throws {PyroError} SHELL_EXITED, SHELL_INPUT_FULL, INVALID_ARGUMENT */
  async write(reference: string, data: Uint8Array, signal: AbortSignal): Promise<OpenedShell> {
    if (data.length > LIMITS.shellInputBytes) {
      throw new PyroError("INVALID_ARGUMENT", `the input has ${data.length} bytes`, {
        hint: `at most ${LIMITS.shellInputBytes} at once; write more in parts, or as a file`,
      });
    }
    const { machine, shellId } = await this.#find(reference, signal);
    const taken = await this.#explained(machine, () => machine.shells.write(shellId, data));
    await this.#workspace.touch();
    if (taken < data.length) throw inputFull(shellId, taken, data.length);
    return await this.#one(machine, shellId);
  }

  /** Sends a signal to what runs in the foreground: "INT", or "SIGINT". */
  async signal(reference: string, name: string, signal: AbortSignal): Promise<OpenedShell> {
    const known = requireSignal(name);
    const { machine, shellId } = await this.#find(reference, signal);
    await this.#explained(machine, () => machine.shells.signal(shellId, known));
    await this.#workspace.touch();
    return await this.#one(machine, shellId);
  }

  async resize(reference: string, cols: number, rows: number, signal: AbortSignal): Promise<OpenedShell> {
    const size = requireSize(cols, rows);
    const { machine, shellId } = await this.#find(reference, signal);
    return this.#toOpened(await this.#explained(machine, () => machine.shells.resize(shellId, size)));
  }

  /** Ends it with all that it started; its output is gone with it. */
  async close(reference: string, signal: AbortSignal): Promise<OpenedShell> {
    const { machine, shellId } = await this.#find(reference, signal);
    const before = await this.#one(machine, shellId);
    const last = await this.#explained(machine, () => machine.shells.close(shellId));
    this.#workspace.secretHolders.end(shellId);
    this.#screens.forget(shellId);
    await this.#workspace.touch();
    return { ...(last === undefined ? before : this.#toOpened(last)), state: "closed" };
  }

  /**
   * The shell that a reference means, in the machine that it is in.
   * @throws {PyroError} SHELL_NOT_FOUND, AMBIGUOUS_REFERENCE
   */
  async locate(
    reference: string,
    signal: AbortSignal,
  ): Promise<{ readonly machine: WorkspaceMachine; readonly shell: OpenedShell }> {
    const machine = await this.#running(signal);
    const all = await this.#all(machine);
    return { machine, shell: this.#toOpened(findShell(reference, all, this.#workspace.id)) };
  }

  async #find(
    reference: string,
    signal: AbortSignal,
  ): Promise<{ readonly machine: WorkspaceMachine; readonly shellId: string }> {
    // The machine itself says whether it knows a whole id.
    if (/^sh-[0-9a-f]{16}$/.test(reference))
      return { machine: await this.#running(signal), shellId: reference };
    const { machine, shell } = await this.locate(reference, signal);
    return { machine, shellId: shell.shellId };
  }

  async #one(machine: WorkspaceMachine, shellId: string): Promise<OpenedShell> {
    return this.#toOpened(findShell(shellId, await this.#all(machine), this.#workspace.id));
  }

  /** Those that have exited hold no secrets any more. */
  async #all(machine: WorkspaceMachine): Promise<readonly MachineShell[]> {
    const looked = this.#workspace.secretHolders.look("shell");
    const all = await this.#explained(machine, () => machine.shells.list());
    looked(all.filter(({ isRunning }) => isRunning).map(({ shellId }) => shellId));
    return all;
  }

  /** All that comes of a shell's terminal comes by here: raw reads, screens, attached terminals. Secrets are masked. */
  bytes(machine: WorkspaceMachine, shellId: string, reading: ShellReading): AsyncIterable<ShellPiece> {
    const read = (of: ShellReading): AsyncIterable<ShellPiece> => machine.shells.read(shellId, of);
    return maskedPieces(read, reading, this.#workspace.secrets.redactor);
  }

  /** The machine, if it runs, is on its way or goes on: no shell is in one that would have to be started anew. */
  async #running(signal: AbortSignal): Promise<WorkspaceMachine> {
    const { runningMachine, operation, record, id } = this.#workspace;
    if (runningMachine !== undefined) return runningMachine;
    const isThere = operation?.state === "running" || ["started", "suspended"].includes(record.state);
    if (!isThere) throw noShells(id, record.state);
    return await untilAborted(this.#workspace.machine(signal), signal);
  }

  /** Where the connection broke, the end of the machine says more, or why it was let go of. */
  async #explained<T>(machine: WorkspaceMachine, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw await explainEnd(error, machine, this.#workspace);
    }
  }
}

/** A shell of a machine as it is told, without secrets. */
export function toOpened({ isRunning, argv, cwd, ...shell }: MachineShell, redactor: Redactor): OpenedShell {
  const shown = { argv: redactor.values(argv), cwd: redactor.text(cwd) };
  return { ...shell, ...shown, state: isRunning ? "running" : "exited" };
}
