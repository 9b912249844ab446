import { appendFile, rename, rm } from "node:fs/promises";
import { failpoint, Slots, untilAborted, type Logger } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { CommandLog } from "./command-log.js";
import { DiskChain } from "./disk-chain.js";
import { DiskProof, factsOf } from "./disk-check.js";
import { KeptRecord } from "./kept-record.js";
import { explainLoss } from "./loss.js";
import { Operation, type OperationKind, type OperationView, type Report } from "./operation.js";
import { pathsOf, type WorkspacePaths, type WorkspaceRecord } from "./record.js";
import type { RunningCommand } from "./sandbox.js";
import { BASELINE, layersOf } from "./snapshot-record.js";
import { SavedMemory } from "./saved-memory.js";
import { allowInMemory } from "./secrets-in-memory.js";
import { removeSecrets, SecretHolders, type WorkspaceSecrets } from "./secrets/index.js";
import { Shells } from "./shells.js";
import { keptOf, type Transferred, type TransferResult } from "./transfer.js";
import type { WorkspaceCommand } from "./workspace-command.js";
import type { WorkspaceDisks } from "./workspace-disks.js";
import {
  busy,
  deleted,
  goneMeanwhile,
  lostAtOnce,
  memorySpent,
  nothingToSuspend,
  runs,
  stoppedByUser,
  stopping,
  unfinished,
  workspaceFailed,
} from "./workspace-errors.js";
import type {
  CapturedMachine,
  SuspendedMachine,
  WorkspaceLayers,
  WorkspaceMachine,
  WorkspaceMachines,
} from "./workspace-machine.js";
import { WorkspaceServices } from "./workspace-services.js";

export interface WorkspaceContext {
  readonly machines: WorkspaceMachines;
  readonly disks: WorkspaceDisks;
  readonly log: Logger;
  readonly now: () => number;
}

/** Fills a new workspace: seeds its machine before the baseline is sealed. */
export type Populate = (
  machine: WorkspaceMachine,
  report: Report,
  signal: AbortSignal,
) => Promise<Pick<WorkspaceRecord, "seed" | "warnings">>;

/** What a change of a workspace's disk works on, in the workspace's turn. */
export interface Change {
  readonly chain: DiskChain;
  readonly record: WorkspaceRecord;
  /** The one that runs, if one does. */
  readonly machine: WorkspaceMachine | undefined;
  readonly nowMs: number;
  readonly report: Report;
  readonly save: (change: Partial<WorkspaceRecord>) => Promise<void>;
}

/**
 * One workspace: its record, its machine where it runs, its commands. What changes its machine happens in turns; what
 * only uses it does not wait, but for a machine that is on its way.
 */
export class Workspace {
  readonly paths: WorkspacePaths;
  readonly #kept: KeptRecord;
  readonly #chain: DiskChain;
  readonly #proof: DiskProof;
  readonly #memory: SavedMemory;
  #machine: WorkspaceMachine | undefined;
  /** How its last machine was lost, once it is. */
  #lost: Promise<PyroError> | undefined;
  #operation: Operation<unknown> | undefined;
  #held: Disposable | undefined;
  readonly shells: Shells = new Shells(this);
  readonly #turn = new Slots(1);
  readonly #over = new AbortController();

  private constructor(
    directory: string,
    record: WorkspaceRecord,
    readonly commands: CommandLog,
    readonly services: WorkspaceServices,
    /** What processes get of its secrets, and how those are kept out of what is shown. */
    readonly secrets: WorkspaceSecrets,
    /** The shells and services that were given some. */
    readonly secretHolders: SecretHolders,
    private readonly context: WorkspaceContext,
  ) {
    this.paths = pathsOf(directory);
    this.#kept = new KeptRecord(this.paths, record, context.now);
    this.#chain = new DiskChain(this.paths, this.#kept, context.machines);
    this.#proof = new DiskProof(this.#kept, this.#chain, context.disks);
    this.#memory = new SavedMemory(this.paths);
    if (record.imageDigest !== null) this.#held = context.machines.holdImage(record.imageDigest);
  }

  static async open(
    directory: string,
    record: WorkspaceRecord,
    secrets: WorkspaceSecrets,
    context: WorkspaceContext,
  ): Promise<Workspace> {
    const paths = pathsOf(directory);
    const { redactor } = secrets;
    const commands = await CommandLog.open(paths.commands, redactor);
    const holders = await SecretHolders.open(paths.secretHolders, secrets);
    const services = await WorkspaceServices.open({
      path: paths.services,
      hear: (bytes) => redactor.bytes(bytes),
      onQuiet: () => void workspace.touch().catch(() => undefined),
      holders,
    });
    const parts = [commands, services, secrets, holders] as const;
    const workspace: Workspace = new Workspace(directory, record, ...parts, context);
    return workspace;
  }

  get id(): string {
    return this.record.workspaceId;
  }

  get record(): WorkspaceRecord {
    return this.#kept.now;
  }

  /** What goes on, or went on last. */
  get operation(): OperationView | undefined {
    return this.#operation?.view;
  }

  get #isStarted(): boolean {
    return this.record.state === "started";
  }

  /** Aborts when it is deleted, or when the daemon leaves. */
  get signal(): AbortSignal {
    return this.#over.signal;
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
      this.#over.signal.throwIfAborted();
      if (this.#machine !== undefined) return this.#machine;
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
    return this.#machine;
  }

  /** Makes the machine of a new workspace, fills it, seals the baseline. */
  create(populate: Populate, options: { readonly noPull: boolean }): Operation<void> {
    return this.#operate("create", async (report) => {
      try {
        await this.#create(populate, options, report);
      } catch (thrown) {
        await this.#giveUp(thrown);
      }
    });
  }

  async #create(populate: Populate, { noPull }: { noPull: boolean }, report: Report): Promise<void> {
    const { environment, vcpuCount, memMib } = this.record;
    const signal = this.#over.signal;
    if (this.record.state !== "creating") await this.#kept.save({ state: "creating", failure: null });
    const fresh = await this.context.machines.make({ environment, vcpuCount, memMib, noPull }, this.paths, {
      signal,
      onPhase: report,
    });
    const { machine, imageDigest } = fresh;
    this.#attach(machine);
    this.#held ??= this.context.machines.holdImage(imageDigest);
    await this.#kept.save({ imageDigest, machineId: machine.id, isolation: machine.isolation });
    failpoint("workspace.machine");
    const filled = await populate(machine, report, signal);
    failpoint("workspace.seeded");
    report({ message: "sealing the baseline" });
    await fresh.seal();
    failpoint("workspace.sealed");
    const sealedFiles = { [BASELINE]: await factsOf(this.paths.baseline) };
    await this.#kept.save({
      ...this.#withoutSecrets(filled),
      sealedFiles,
      diskInUse: true,
      state: "started",
      ...this.#kept.touched(),
    });
    this.#watch(machine);
  }

  /** The machine of one that was forked off: it goes on where the other was captured. */
  branch(captured: CapturedMachine): Operation<void> {
    return this.#operate("create", async (report) => {
      try {
        await this.#chain.renew();
        const { environment, vcpuCount, memMib } = this.record;
        const options = { signal: this.#over.signal, onPhase: report };
        const shape = { environment, vcpuCount, memMib };
        const machine = await this.context.machines.branch(shape, this.#chain.layers, captured, options);
        this.#attach(machine);
        await this.#kept.save({ machineId: machine.id, isolation: machine.isolation, state: "started" });
        failpoint("fork.started");
        this.#watch(machine);
        await this.#followAll(machine);
        // Those that the other had run on here; it is told by none of its own files.
        await this.services.refresh(machine.services).catch(() => undefined);
      } catch (thrown) {
        await this.#giveUp(thrown);
      }
    });
  }

  /** What is being made fails; it says why until it is deleted. */
  async #giveUp(thrown: unknown): Promise<never> {
    const known = await explainLoss(thrown, this.#lost);
    const error = this.secrets.error(this.#over.signal.aborted ? this.#over.signal.reason : known);
    await this.#dropMachine();
    await this.#interrupt(error.message);
    if (!this.#over.signal.aborted) await this.#fail(error);
    throw error;
  }

  /** Starts a stopped one over what its disk holds. */
  start(): Operation<void> {
    return this.#operate("start", async (report) => {
      if (this.#machine !== undefined) return;
      if (this.record.state === "failed") throw workspaceFailed(this.record);
      await this.#boot(report);
    });
  }

  async #boot(report: Report): Promise<void> {
    // Its active layer may lie on other layers than those that the record names.
    if (this.record.state === "resetting") await this.finishReset();
    await this.#chain.settle();
    const machine = this.record.state === "suspended" ? await this.#goOn(report) : await this.#open(report);
    this.#attach(machine);
    const { id: machineId, isolation } = machine;
    const started = { state: "started", stoppedBy: null, stoppedAtMs: null, failure: null } as const;
    const change = { machineId, isolation, ...started, secretsInMemory: [] };
    await this.#kept.save({ ...change, ...this.#kept.touched() });
    await this.#memory.remove();
    this.#watch(machine);
    failpoint("workspace.started");
    await this.#followAll(machine);
  }

  async #open(report: Report): Promise<WorkspaceMachine> {
    const { environment, vcpuCount, memMib } = this.record;
    const signal = this.#over.signal;
    const shape = { environment, vcpuCount, memMib };
    await this.#proof.begin(signal);
    return await this.context.machines
      .open(shape, this.#chain.layers, { signal, onPhase: report })
      .catch(async (thrown: unknown) => {
        throw await this.#proof.explain(thrown, signal);
      });
  }

  /** Where its memory fits the disk no more and no machine goes on from it, it is stopped, and its commands are lost. */
  async #goOn(report: Report): Promise<WorkspaceMachine> {
    const { environment, vcpuCount, memMib } = this.record;
    const options = { signal: this.#over.signal, onPhase: report };
    const from = { directory: this.#memory.directory, beforeRun: () => this.#memory.spend() };
    const shape = { environment, vcpuCount, memMib };
    try {
      return await this.context.machines.resume(shape, this.#chain.layers, from, options);
    } catch (thrown) {
      if (!(await this.#memory.exists())) await this.#loseMemory(PyroError.from(thrown));
      throw thrown;
    }
  }

  async #loseMemory({ code, message, hint }: PyroError): Promise<void> {
    await this.#interrupt(message);
    await this.#crashed({ code, message, hint });
    await this.#memory.remove();
  }

  /** What runs in a machine, from where each command's output was left. */
  async #followAll(machine: WorkspaceMachine, graceMs = 0): Promise<void> {
    for (const command of this.commands.running) {
      this.holdSecrets(command);
      const running = await machine.follow(command.processId, command.output.position).catch(() => undefined);
      if (running === undefined) await command.interrupt("its machine does not know it any more");
      else this.keep(command, running, machine, graceMs);
    }
  }

  /**
   * Ends its machine and keeps its memory: it goes on where it was, commands and all. One that is suspended already only
   * gets another reason.
   */
  suspend(by: "user" | "idle", allowSecrets = false): Operation<void> {
    return this.#operate("stop", async (report) => {
      const { state } = this.record;
      if (state === "failed") throw workspaceFailed(this.record);
      const machine = this.#machine;
      if (machine !== undefined) {
        const secretsInMemory = await allowInMemory(this, "stop --suspend", allowSecrets);
        await this.#suspend(machine, { stoppedBy: by, secretsInMemory }, report);
      } else if (state !== "suspended") throw nothingToSuspend(this.id);
      else if (by === "user") await this.#kept.save({ stoppedBy: by });
    });
  }

  async #suspend(
    machine: WorkspaceMachine,
    how: Pick<WorkspaceRecord, "stoppedBy" | "secretsInMemory">,
    report: Report,
  ): Promise<void> {
    report({ message: "saving its memory" });
    // Without the machine it could not be told any more.
    await this.#chain.settle(machine);
    let suspended: SuspendedMachine | undefined;
    try {
      suspended = await machine.suspend(await this.#memory.begin());
      await this.#memory.place();
      if (this.#machine !== machine) throw lostAtOnce(this.id);
    } catch (error) {
      // In this order: a machine that runs makes what was saved worthless.
      await this.#memory.remove();
      // One that cannot go on is lost, which its watch says.
      await suspended?.wake().catch(() => machine[Symbol.asyncDispose]());
      throw error;
    }
    this.#machine = undefined;
    this.services.detach();
    for (const command of this.commands.running) await command.leave();
    const stoppedAtMs = this.context.now();
    await this.#kept.save({ state: "suspended", ...how, stoppedAtMs, machineId: null, failure: null });
    failpoint("suspend.recorded");
    await machine[Symbol.asyncDispose]();
  }

  /** Flushes its disk and ends its machine; commands that run are ended. */
  stop(by: "user" | "ttl" | "daemon"): Operation<void> {
    return this.#operate("stop", async () => {
      if (this.record.state === "failed") throw workspaceFailed(this.record);
      const machine = this.#machine;
      // What runs in it loses it on purpose.
      this.#machine = undefined;
      await this.#interrupt("the workspace was stopped");
      await this.services.end(by === "ttl" ? "workspace_expired" : "workspace_stopped", this.context.now());
      this.shells.clear();
      await machine?.shutDown();
      await this.secretHolders.clear();
      failpoint("workspace.shut-down");
      await this.#memory.remove();
      const stopped = { state: "stopped", stoppedBy: by, stoppedAtMs: this.context.now() } as const;
      // Of one that was lost before, nobody flushed the disk.
      const diskInUse = machine === undefined && this.record.diskInUse;
      await this.#kept.save({ ...stopped, machineId: null, diskInUse });
    });
  }

  /** Rebuilds the whole sandbox from a snapshot, and clears the history. */
  reset(snapshot = BASELINE): Operation<void> {
    return this.#operate("reset", async (report) => {
      if (this.record.state === "failed") throw workspaceFailed(this.record);
      const layers = [...layersOf(this.record, snapshot)];
      await this.#kept.save({ state: "resetting", resetTo: snapshot, layers, sealing: null });
      failpoint("workspace.resetting");
      // Before the machine goes: whoever listens learns why, and not how.
      await this.#interrupt("the workspace was reset");
      await this.#dropMachine();
      await this.finishReset();
      await this.#boot(report);
    });
  }

  /** The part of a reset that a later daemon can do as well: it may be done twice. */
  async finishReset(): Promise<void> {
    await this.#memory.remove();
    await this.#chain.renew();
    failpoint("workspace.renewed");
    await this.commands.clear();
    await this.services.clear();
    await this.secretHolders.clear();
    await rm(this.paths.history, { force: true });
    const { reset: last, resetTo } = this.record;
    const reset = { count: last.count + 1, atMs: this.context.now(), snapshot: resetTo ?? BASELINE };
    const stopped = { state: "stopped", stoppedBy: "reset", stoppedAtMs: this.context.now() } as const;
    const change = { ...stopped, machineId: null, failure: null, reset, resetTo: null, diskInUse: false };
    await this.#kept.save({ ...change, ...this.#kept.touched() });
    await this.#chain.sweep();
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
      const { state, stoppedBy } = this.record;
      if (state === "failed") throw workspaceFailed(this.record);
      if (this.#machine === undefined) {
        if (isDown(state) && stoppedBy === "user") throw stoppedByUser(this.id);
        await this.#boot(report);
      }
      if (this.#machine === undefined) throw lostAtOnce(this.id);
      return await body(this.#machine, report);
    };
    return this.#operate(kind, work, (result) => keptOf({ kind, result } as Transferred));
  }

  /** A change of its disk, whether it runs or not; what runs goes on. */
  change<T>(kind: OperationKind, body: (change: Change) => Promise<T>): Operation<T> {
    return this.#operate(kind, async (report) => {
      if (this.record.state === "failed") throw workspaceFailed(this.record);
      if (this.record.state === "resetting") await this.finishReset();
      await this.#chain.settle(this.#machine);
      await this.touch();
      const { record } = this;
      const save = (change: Partial<WorkspaceRecord>): Promise<void> => this.#kept.save(change);
      const nowMs = this.context.now();
      return await body({ chain: this.#chain, record, machine: this.#machine, nowMs, report, save });
    });
  }

  /** Work on the disk of a stopped one, which stays stopped; nothing of it is activity. */
  offline<T>(
    kind: OperationKind,
    body: (disk: { layers: WorkspaceLayers; disks: WorkspaceDisks; signal: AbortSignal }) => Promise<T>,
  ): Operation<T> {
    return this.#operate(kind, async () => {
      if (this.record.state === "failed") throw workspaceFailed(this.record);
      if (this.#machine !== undefined || this.record.state === "started") throw runs(this.id);
      if (this.record.state === "resetting") await this.finishReset();
      await this.#chain.settle();
      return await body({
        layers: this.#chain.layers,
        disks: this.context.disks,
        signal: this.#over.signal,
      });
    });
  }

  // ------------------------------------------------------------------ after a daemon's death

  /** Takes up what an earlier daemon left, in the background. */
  recover(): void {
    const { state, machineId, isolation } = this.record;
    const operation = this.#operate("start", async () => {
      if (state === "creating") {
        await this.#fail(unfinished());
      } else if (state === "resetting") {
        await this.#interrupt("the workspace was reset");
        await this.finishReset();
      } else if (state === "started" && machineId !== null && isolation !== null) {
        // Of a machine that runs it is worth nothing, whole or not.
        await this.#memory.remove();
        await this.#adopt(machineId, isolation);
      } else if (state === "suspended") {
        if (await this.#memory.exists()) await this.#memory.sweep();
        else await this.#loseMemory(memorySpent());
      } else {
        await this.#interrupt("the workspace was stopped");
        await this.services.end("workspace_stopped", this.context.now());
        await this.secretHolders.clear();
      }
      await this.#chain.settle(this.#machine);
      await this.#chain.sweep();
    });
    operation.result.catch((error: unknown) => {
      this.context.log.error("workspace.recover", {
        workspace: this.id,
        error: PyroError.from(error).message,
      });
    });
  }

  async #adopt(machineId: string, isolation: "kvm" | "software"): Promise<void> {
    const machine = await this.context.machines
      .adopt(machineId, { isolation })
      .catch((thrown: unknown) => this.secrets.error(thrown));
    if (machine === undefined || machine instanceof PyroError) {
      const { code, message, hint } = machine ?? goneMeanwhile();
      await this.#interrupt(message);
      await this.#crashed({ code, message, hint });
      return;
    }
    this.#attach(machine);
    this.#watch(machine);
    await this.#followAll(machine, LIMITS.attachGraceMs);
  }

  /** Notes the secrets that a command was given, as long as it runs. */
  holdSecrets({ sequence, facts, done }: WorkspaceCommand): void {
    const held = this.secrets.hold({ kind: "command", name: String(sequence), secrets: facts.secrets ?? [] });
    void done.then(() => held[Symbol.dispose]());
  }

  /** Keeps what a command writes, in the background, and how it ends; then the machine may forget it. */
  keep(command: WorkspaceCommand, running: RunningCommand, machine: WorkspaceMachine, graceMs = 0): void {
    void command.follow(running, graceMs).then(async () => {
      // What the next daemon is to follow must stay known there.
      if (command.isRunning) return;
      await machine.forget(command.processId).catch(() => undefined);
      await this.touch().catch(() => undefined);
    });
  }

  /** Lets go of it, for the next daemon. */
  async release(): Promise<void> {
    this.#over.abort(stopping());
    using _turn = await this.#turn.take();
    for (const command of this.commands.running) command.letGo();
    await this.services.close();
    await this.secretHolders.saved();
    const machine = this.#machine;
    this.#machine = undefined;
    await machine?.release();
    await this.commands[Symbol.asyncDispose]();
    this.#held?.[Symbol.dispose]();
  }

  // ------------------------------------------------------------------ what is known of it

  /** Name and labels, which the caller has checked; or that it is spent. */
  async update(change: Partial<Pick<WorkspaceRecord, "name" | "labels" | "spent">>): Promise<void> {
    this.secrets.refuseShown(change);
    await this.#kept.save({ ...change, ...this.#kept.touched() });
  }

  /** Waits for what goes on to end, at most so long; never rejects. */
  async settle(waitMs: number, signal: AbortSignal): Promise<void> {
    await this.#operation?.settle(waitMs, signal);
  }

  /** Moves its last activity to now. */
  async touch(): Promise<void> {
    await this.#kept.save(this.#kept.touched());
  }

  /** The sequence of a new command. */
  async nextSequence(): Promise<number> {
    const lastSequence = this.record.lastSequence + 1;
    await this.#kept.save({ lastSequence, ...this.#kept.touched() });
    return lastSequence;
  }

  /**
   * Work in its directory.
   * @throws {PyroError} WORKSPACE_DELETED where that is why it fails; what the work throws
   */
  async whileThere<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#kept.isClosed ? this.#over.signal.reason : error;
    }
  }

  /** Adds a line to what was done besides commands. */
  async note(event: Readonly<Record<string, unknown>>): Promise<void> {
    const line = JSON.stringify({ at_ms: this.context.now(), ...this.secrets.redactor.values(event) });
    await this.whileThere(() => appendFile(this.paths.history, `${line}\n`, { mode: 0o600 }));
  }

  /** Ends everything of it and removes it from the disk. */
  async delete(): Promise<void> {
    this.#over.abort(deleted(this.id));
    await this.services.close();
    // Whatever cannot be recorded any more, on a full disk: deleting is what makes room.
    const interrupt = (): Promise<void> =>
      this.#interrupt("the workspace was deleted").catch(() => undefined);
    await interrupt();
    await this.#dropMachine();
    // What waited for its turn leaves by the signal; what had it may still attach a machine.
    using _turn = await this.#turn.take();
    await this.#dropMachine();
    await interrupt();
    await this.commands[Symbol.asyncDispose]();
    this.shells.clear();
    this.#held?.[Symbol.dispose]();
    // Out of the way in one step: what is half removed is never taken for a workspace.
    const condemned = `${this.paths.directory}${CONDEMNED}`;
    await this.#kept.close();
    await rename(this.paths.directory, condemned);
    failpoint("workspace.condemned");
    await rm(condemned, { recursive: true, force: true });
  }

  // ------------------------------------------------------------------ inside

  /** At most so many wait: beyond, an operation fails at once, and what goes on stays what is looked at. */
  #operate<T>(
    kind: OperationKind,
    body: (report: Report) => Promise<T>,
    keep?: (result: T) => Transferred,
  ): Operation<T> {
    const waiting = this.#turn.queued;
    if (waiting >= LIMITS.workspaceOperationsWaiting)
      return new Operation<T>(kind, () => Promise.reject(busy(this.id, waiting)));
    const work = async (report: Report): Promise<T> => {
      using _turn = await this.#turn.take(this.#over.signal);
      this.#over.signal.throwIfAborted();
      try {
        return await body(report);
      } catch (error) {
        this.#over.signal.throwIfAborted();
        throw this.secrets.error(await explainLoss(error, this.#lost));
      }
    };
    const operation = new Operation(kind, work, keep);
    this.#operation = operation;
    return operation;
  }

  #attach(machine: WorkspaceMachine): void {
    this.#machine = machine;
    this.#lost = machine.lost;
    this.services.attach(machine.services);
  }

  /** From when its record says that it runs in the machine; before that, what makes it fails by itself. */
  #watch(machine: WorkspaceMachine): void {
    void machine.lost.then((error) => this.#onLost(machine, error));
  }

  async #onLost(machine: WorkspaceMachine, error: PyroError): Promise<void> {
    // One that is being reset, stopped or deleted loses it on purpose.
    if (this.#machine !== machine || this.record.state !== "started") return;
    this.#machine = undefined;
    await machine[Symbol.asyncDispose]();
    // What was about to suspend it has said what became of it.
    if (!this.#isStarted) return;
    const { code, message, hint } = this.secrets.error(error);
    this.context.log.warn("workspace.machine-lost", { workspace: this.id, error: message });
    await this.#crashed({ code, message, hint });
  }

  async #crashed(failure: NonNullable<WorkspaceRecord["failure"]>): Promise<void> {
    await this.services.end("machine_lost", this.context.now());
    await this.secretHolders.clear();
    const stopped = { state: "stopped", stoppedBy: "crash", stoppedAtMs: this.context.now() } as const;
    await this.#kept.save({ ...stopped, machineId: null, failure });
  }

  async #dropMachine(): Promise<void> {
    const machine = this.#machine;
    this.#machine = undefined;
    this.shells.clear();
    await machine?.[Symbol.asyncDispose]();
  }

  async #interrupt(reason: string): Promise<void> {
    const running = this.commands.running.map((command) => command.interrupt(reason));
    for (const interrupted of await Promise.allSettled(running))
      if (interrupted.status === "rejected") throw interrupted.reason;
  }

  async #fail({ code, message, hint }: PyroError): Promise<void> {
    await this.#chain.remove();
    // It never runs again.
    await removeSecrets(this.paths.secrets);
    const stoppedAtMs = this.context.now();
    await this.#kept.save({
      state: "failed",
      failure: { code, message, hint },
      stoppedAtMs,
      machineId: null,
    });
  }

  /** What a seed says of itself holds names and paths. */
  #withoutSecrets({ seed, warnings }: Awaited<ReturnType<Populate>>): Awaited<ReturnType<Populate>> {
    const { redactor } = this.secrets;
    const { seedPath, originRef } = redactor.values({ seedPath: seed.seedPath, originRef: seed.originRef });
    return { seed: { ...seed, seedPath, originRef }, warnings: redactor.values(warnings) };
  }
}

/** Whether it has no machine, and may get one over its disk. */
function isDown(state: WorkspaceRecord["state"]): boolean {
  return state === "stopped" || state === "suspended";
}

/** What the directory of a workspace ends with while it is removed. */
export const CONDEMNED = ".deleted";

/** The end of what may bring a machine. Its error is its own caller's, unless it is about the machine itself. */
async function machineOf({ kind, result }: Operation<unknown>): Promise<unknown> {
  if (kind === "create" || kind === "start" || kind === "reset") return await result;
  return await result.catch(() => undefined);
}
