import { appendFile } from "node:fs/promises";
import { failpoint, Slots, untilAborted } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { CommandLog } from "./command-log.js";
import { explainEnd, explainLoss } from "./loss.js";
import { branch, make, type Populate } from "./making.js";
import { machineOf, Operation, type OperationKind, type OperationView, type Report } from "./operation.js";
import { isDown, type WorkspacePaths, type WorkspaceRecord } from "./record.js";
import type { PublishedPorts } from "./published-ports.js";
import { recover } from "./recovering.js";
import { beginReset, finishReset } from "./resetting.js";
import type { RunningCommand } from "./sandbox.js";
import { allowInMemory } from "./secrets-in-memory.js";
import type { SecretHolders, WorkspaceSecrets } from "./secrets/index.js";
import { Shells } from "./shells.js";
import { BASELINE } from "./snapshot-record.js";
import { boot } from "./starting.js";
import { abandon, remove, shutDown, suspend } from "./stopping.js";
import { keptOf, type Transferred, type TransferResult } from "./transfer.js";
import type { WorkspaceCommand } from "./workspace-command.js";
import type { WorkspaceDisks } from "./workspace-disks.js";
import {
  busy,
  deleted,
  lostAtOnce,
  nothingToSuspend,
  runs,
  stoppedByUser,
  stopping,
  workspaceFailed,
} from "./workspace-errors.js";
import type { CapturedMachine, WorkspaceLayers, WorkspaceMachine } from "./workspace-machine.js";
import {
  openParts,
  WorkspaceParts,
  type Change,
  type KeptParts,
  type WorkspaceContext,
} from "./workspace-parts.js";
import type { NetworkPolicyText, WorkspaceNetwork } from "./workspace-network.js";
import type { WorkspaceServices } from "./workspace-services.js";

/**
 * One workspace: its record, its machine where it runs, its commands. What changes its machine happens in turns; what
 * only uses it does not wait, but for a machine that is on its way.
 */
export class Workspace {
  readonly #parts: WorkspaceParts;
  readonly #turn = new Slots(1);
  readonly shells: Shells = new Shells(this);
  #operation: Operation<unknown> | undefined;

  private constructor(
    directory: string,
    record: WorkspaceRecord,
    kept: KeptParts,
    context: WorkspaceContext,
  ) {
    this.#parts = new WorkspaceParts(directory, record, kept, this.shells, context);
  }

  static async open(
    directory: string,
    record: WorkspaceRecord,
    secrets: WorkspaceSecrets,
    context: WorkspaceContext,
  ): Promise<Workspace> {
    const onQuiet = (): void => void workspace.touch().catch(() => undefined);
    const parts = await openParts(directory, record, secrets, context.networks, onQuiet);
    const workspace: Workspace = new Workspace(directory, record, parts, context);
    return workspace;
  }

  get id(): string {
    return this.#parts.id;
  }

  get paths(): WorkspacePaths {
    return this.#parts.paths;
  }

  get record(): WorkspaceRecord {
    return this.#parts.record;
  }

  get commands(): CommandLog {
    return this.#parts.commands;
  }

  get services(): WorkspaceServices {
    return this.#parts.services;
  }

  /** What processes get of its secrets, and how those are kept out of what is shown. */
  get secrets(): WorkspaceSecrets {
    return this.#parts.secrets;
  }

  /** The shells and services that were given some. */
  get secretHolders(): SecretHolders {
    return this.#parts.secretHolders;
  }

  /** What it may reach, and what it reached. */
  get network(): WorkspaceNetwork {
    return this.#parts.network;
  }

  /** Those of the host that its services have. */
  get ports(): PublishedPorts {
    return this.#parts.ports;
  }

  /** What goes on, or went on last. */
  get operation(): OperationView | undefined {
    return this.#operation?.view;
  }

  /** Aborts when it is deleted, or when the daemon leaves. */
  get signal(): AbortSignal {
    return this.#parts.signal;
  }

  get expiresAtMs(): number {
    return this.record.lastActivityAtMs + this.record.ttlSeconds * 1000;
  }

  /** Running commands, services, attached shells and operations hold it beyond its TTL; in a suspended one nothing runs. */
  get isIdle(): boolean {
    const { commands, services, shells } = this;
    const using = commands.running.length + services.alive.length + shells.attached;
    return (using === 0 || this.record.state === "suspended") && this.#operation?.isRunning !== true;
  }

  // ------------------------------------------------------------------ its machine

  /**
   * Its machine, for a call. One that stopped by itself starts again.
   * @throws {PyroError} WORKSPACE_STOPPED by the user, WORKSPACE_FAILED, WORKSPACE_DELETED, what a start throws
   */
  async machine(signal: AbortSignal): Promise<WorkspaceMachine> {
    for (;;) {
      this.signal.throwIfAborted();
      if (this.runningMachine !== undefined) return this.runningMachine;
      const { state, stoppedBy } = this.record;
      if (state === "failed") throw workspaceFailed(this.record);
      const operation = this.#operation;
      if (operation?.isRunning === true) await untilAborted(machineOf(operation), signal);
      else if (isDown(state) && stoppedBy === "user") throw stoppedByUser(this.id);
      else await untilAborted(this.start().result, signal);
    }
  }

  /** The machine, if it runs now. */
  get runningMachine(): WorkspaceMachine | undefined {
    return this.#parts.slot.machine;
  }

  /** Makes the machine of a new workspace, fills it, seals the baseline. */
  create(populate: Populate, options: { readonly noPull: boolean }): Operation<void> {
    return this.#operate("create", (report) => make(this.#parts, populate, options, report));
  }

  /** The machine of one that was forked off: it goes on where the other was captured. */
  branch(captured: CapturedMachine): Operation<void> {
    return this.#operate("create", (report) => branch(this.#parts, captured, report));
  }

  /** Starts a stopped one over what its disk holds; a suspended one goes on. */
  start(): Operation<void> {
    return this.#operateUsable("start", async (report) => {
      if (this.runningMachine === undefined) await boot(this.#parts, report);
    });
  }

  /**
   * Ends its machine and keeps its memory: it goes on where it was, commands and all. One that is suspended already only
   * gets another reason.
   */
  suspend(by: "user" | "idle", allowSecrets = false): Operation<void> {
    return this.#operateUsable("stop", async (report) => {
      const machine = this.runningMachine;
      if (machine !== undefined) {
        const secretsInMemory = await allowInMemory(this, "stop --suspend", allowSecrets);
        await suspend(this.#parts, machine, { stoppedBy: by, secretsInMemory }, report);
      } else if (this.record.state !== "suspended") throw nothingToSuspend(this.id);
      else if (by === "user") await this.#parts.kept.save({ stoppedBy: by });
    });
  }

  /** Flushes its disk and ends its machine; commands that run are ended. */
  stop(by: "user" | "ttl" | "daemon"): Operation<void> {
    return this.#operateUsable("stop", () => shutDown(this.#parts, by));
  }

  /** Rebuilds the whole sandbox from a snapshot, and clears the history. */
  reset(snapshot = BASELINE): Operation<void> {
    return this.#operateUsable("reset", async (report) => {
      await beginReset(this.#parts, snapshot);
      await finishReset(this.#parts);
      await boot(this.#parts, report);
    });
  }

  /**
   * Work beside commands that is waited for: a push, an export. One that stopped by itself starts again for it. What came
   * of it is seen until the next operation, also by those who did not wait.
   */
  work<Kind extends Transferred["kind"]>(
    kind: Kind,
    body: (machine: WorkspaceMachine, report: Report) => Promise<TransferResult<Kind>>,
  ): Operation<TransferResult<Kind>> {
    const work = async (report: Report): Promise<TransferResult<Kind>> => {
      if (this.runningMachine === undefined) {
        const { state, stoppedBy } = this.record;
        if (isDown(state) && stoppedBy === "user") throw stoppedByUser(this.id);
        await boot(this.#parts, report);
      }
      if (this.runningMachine === undefined) throw lostAtOnce(this.id);
      return await body(this.runningMachine, report);
    };
    return this.#operateUsable(kind, work, (result) => keptOf({ kind, result } as Transferred));
  }

  /** A change of its disk, whether it runs or not; what runs goes on. */
  change<T>(kind: OperationKind, body: (change: Change) => Promise<T>): Operation<T> {
    return this.#operateUsable(kind, async (report) => {
      const { chain, kept, context, slot } = this.#parts;
      if (this.record.state === "resetting") await finishReset(this.#parts);
      await chain.settle(slot.machine);
      await this.touch();
      const save = (change: Partial<WorkspaceRecord>): Promise<void> => kept.save(change);
      const { record, runningMachine: machine } = this;
      const { disks } = context;
      return await body({ chain, disks, record, machine, nowMs: context.now(), report, save });
    });
  }

  /** Work on the disk of a stopped one, which stays stopped; nothing of it is activity. */
  offline<T>(
    kind: OperationKind,
    body: (disk: { layers: WorkspaceLayers; disks: WorkspaceDisks; signal: AbortSignal }) => Promise<T>,
  ): Operation<T> {
    return this.#operateUsable(kind, async () => {
      const { chain, context, signal } = this.#parts;
      if (this.runningMachine !== undefined || this.record.state === "started") throw runs(this.id);
      if (this.record.state === "resetting") await finishReset(this.#parts);
      await chain.settle();
      return await body({ layers: chain.layers, disks: context.disks, signal });
    });
  }

  // ------------------------------------------------------------------ after a daemon's death

  /** Takes up what an earlier daemon left, in the background. */
  recover(): void {
    const operation = this.#operate("start", () => recover(this.#parts));
    operation.result.catch((error: unknown) => {
      const { message } = PyroError.from(error);
      this.#parts.context.log.error("workspace.recover", { workspace: this.id, error: message });
    });
  }

  /** Lets go of it, for the next daemon. */
  async release(): Promise<void> {
    const parts = this.#parts;
    parts.over.abort(stopping());
    using _turn = await this.#turn.take();
    for (const command of this.commands.running) command.letGo();
    await this.services.close();
    await this.secretHolders.saved();
    await parts.slot.take()?.release();
    await this.commands[Symbol.asyncDispose]();
    await parts.network[Symbol.asyncDispose]();
    parts.letGoOfImage();
  }

  // ------------------------------------------------------------------ its commands

  /** Notes the secrets that a command was given, as long as it runs. */
  holdSecrets(command: WorkspaceCommand): void {
    this.#parts.holdSecrets(command);
  }

  /** Keeps what a command writes, in the background, and how it ends. */
  keep(command: WorkspaceCommand, running: RunningCommand, machine: WorkspaceMachine): void {
    this.#parts.keep(command, running, machine);
  }

  /** The sequence of a new command. */
  async nextSequence(): Promise<number> {
    const { kept } = this.#parts;
    const lastSequence = this.record.lastSequence + 1;
    await kept.save({ lastSequence, ...kept.touched() });
    return lastSequence;
  }

  // ------------------------------------------------------------------ what is known of it

  /** Name and labels, which the caller has checked; or that it is spent. */
  async update(change: Partial<Pick<WorkspaceRecord, "name" | "labels" | "spent">>): Promise<void> {
    const { kept } = this.#parts;
    this.secrets.refuseShown(change);
    await kept.save({ ...change, ...kept.touched() });
  }

  /**
   * Replaces what it may reach, also while it runs.
   * @throws {PyroError} INVALID_NETWORK_POLICY: the old one stays
   */
  async setNetwork(policy: NetworkPolicyText): Promise<void> {
    const { kept, network, slot } = this.#parts;
    const { machine } = slot;
    const checked = network.checked(policy);
    try {
      // Before it holds: the next daemon finds what was asked for last, never a wider one that had ceased to hold.
      await kept.save({ network: checked, ...kept.touched() });
      failpoint("network.recorded");
    } finally {
      // A full disk does not keep a machine connected.
      await network
        .setPolicy(checked)
        .finally(() => this.ports.settle())
        .catch(async (error: unknown) => {
          throw machine === undefined ? error : await explainEnd(error, machine, this);
        });
    }
  }

  /** Waits for what goes on to end, at most so long; never rejects. */
  async settle(waitMs: number, signal: AbortSignal): Promise<void> {
    await this.#operation?.settle(waitMs, signal);
  }

  /** Moves its last activity to now. */
  async touch(): Promise<void> {
    await this.#parts.touch();
  }

  /**
   * Work in its directory.
   * @throws {PyroError} WORKSPACE_DELETED where that is why it fails; what the work throws
   */
  async whileThere<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#parts.kept.isClosed ? this.signal.reason : error;
    }
  }

  /** Adds a line to what was done besides commands. */
  async note(event: Readonly<Record<string, unknown>>): Promise<void> {
    const atMs = this.#parts.context.now();
    const line = JSON.stringify({ at_ms: atMs, ...this.secrets.redactor.values(event) });
    await this.whileThere(() => appendFile(this.paths.history, `${line}\n`, { mode: 0o600 }));
  }

  /** Ends everything of it and removes it from the disk. */
  async delete(): Promise<void> {
    this.#parts.over.abort(deleted(this.id));
    await abandon(this.#parts);
    // What waited for its turn leaves by the signal.
    using _turn = await this.#turn.take();
    await remove(this.#parts);
  }

  // ------------------------------------------------------------------ inside

  /** What no failed one takes part in. */
  #operateUsable<T>(
    kind: OperationKind,
    body: (report: Report) => Promise<T>,
    keep?: (result: T) => Transferred,
  ): Operation<T> {
    const work = async (report: Report): Promise<T> => {
      if (this.record.state === "failed") throw workspaceFailed(this.record);
      return await body(report);
    };
    return this.#operate(kind, work, keep);
  }

  /** At most so many wait: beyond, an operation fails at once, and what goes on stays what is looked at. */
  #operate<T>(
    kind: OperationKind,
    body: (report: Report) => Promise<T>,
    keep?: (result: T) => Transferred,
  ): Operation<T> {
    const waiting = this.#turn.queued;
    if (waiting >= LIMITS.workspaceOperationsWaiting)
      return new Operation<T>(kind, () => Promise.reject(busy(this.id, waiting)));
    const { signal, slot, secrets } = this.#parts;
    const work = async (report: Report): Promise<T> => {
      using _turn = await this.#turn.take(signal);
      signal.throwIfAborted();
      try {
        return await body(report);
      } catch (error) {
        signal.throwIfAborted();
        throw secrets.error(await explainLoss(error, slot.lost));
      }
    };
    const operation = new Operation(kind, work, keep);
    this.#operation = operation;
    return operation;
  }
}
