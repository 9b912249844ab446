import { rm } from "node:fs/promises";
import { join } from "node:path";
import { freshId } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  createRecord,
  listDirectories,
  loadRecord,
  newRecord,
  pathsOf,
  type WorkspaceRecord,
} from "./record.js";
import { ClockWatch } from "./clock-watch.js";
import { sweepExport } from "./exporting.js";
import { beginFork, type ForkRequest } from "./forking.js";
import { resolveReference } from "./reference.js";
import { checkSecrets, loadSecrets, saveSecrets, WorkspaceSecrets, type Secret } from "./secrets/index.js";
import type { Populate } from "./making.js";
import type { NetworkPolicyText } from "./workspace-network.js";
import { CONDEMNED } from "./stopping.js";
import { Workspace } from "./workspace.js";
import type { WorkspaceContext } from "./workspace-parts.js";

export interface WorkspacesOptions extends WorkspaceContext {
  /** One directory per workspace below it. */
  readonly directory: string;
  /** What comes of one past its TTL; default "stop". */
  readonly whenExpired?: "stop" | "delete";
  /** After so long without use a running one is suspended; 0: never. */
  readonly idleSuspendMs?: number;
}

export type NewWorkspace = Pick<
  WorkspaceRecord,
  "name" | "labels" | "environment" | "vcpuCount" | "memMib" | "ttlSeconds"
> & {
  /** Left out: nothing. */
  readonly network?: NetworkPolicyText;
  readonly noPull: boolean;
  readonly secrets?: readonly Secret[];
};

/**
 * Nothing is deleted for its age while the host's clock is that young, or was set that recently: it may be set again, and
 * a year's jump is no reason to lose everything at once.
 */
const STEADY_MS = 20_000;

/** How often workspaces past their time are looked for. */
const REAP_MS = 1_000;

/** The workspaces of this user: made, found, reaped, and handed from daemon to daemon. */
export class Workspaces implements AsyncDisposable {
  readonly #all = new Map<string, Workspace>();
  #reaper: NodeJS.Timeout | undefined;

  constructor(private readonly options: WorkspacesOptions) {}

  /** Newest activity first. */
  get all(): readonly Workspace[] {
    return [...this.#all.values()].sort((a, b) => b.record.lastActivityAtMs - a.record.lastActivityAtMs);
  }

  /** Machines that are to be adopted: what was in the middle of something else is made anew. */
  get machineIds(): ReadonlySet<string> {
    const started = this.all.filter(({ record }) => record.state === "started");
    return new Set(started.flatMap(({ record }) => record.machineId ?? []));
  }

  /**
   * Finds what an earlier daemon left. A directory without a record that can be read is left alone: it may be of
   * another version. Call `adopt` once the host's other leftovers are gone.
   */
  async load(): Promise<void> {
    for (const name of await listDirectories(this.options.directory)) {
      const directory = join(this.options.directory, name);
      if (name.endsWith(CONDEMNED)) {
        await rm(directory, { recursive: true, force: true });
        continue;
      }
      try {
        await this.#load(name, directory);
      } catch (error) {
        // One that cannot be read must not keep the others from being found.
        this.options.log.warn("workspace.not-read", {
          directory: name,
          error: PyroError.from(error).message,
        });
      }
    }
  }

  async #load(name: string, directory: string): Promise<void> {
    const record = await loadRecord(pathsOf(directory));
    if (record?.workspaceId !== name) throw new Error("it has no record of this version");
    await sweepExport(directory);
    const secrets = await secretsOf(record, directory);
    this.#all.set(name, await Workspace.open(directory, record, secrets, this.options));
  }

  /** Takes the machines of running workspaces over, in the background, and begins to reap. */
  adopt(): void {
    for (const workspace of this.#all.values()) workspace.recover();
    const clock = new ClockWatch(this.options.now);
    this.#reaper = setInterval(() => {
      const stepMs = clock.look();
      if (stepMs !== 0) this.#onClockSet(stepMs);
      this.reap(clock.steadyMs >= STEADY_MS);
    }, REAP_MS);
    this.#reaper.unref();
  }

  /** A new workspace, on its way: its operation says how far it is. */
  async create({ noPull, ...fields }: NewWorkspace, populate: Populate): Promise<Workspace> {
    const workspace = await this.reserve({ workspaceId: freshId("ws"), ...fields }, "creating");
    workspace.create(populate, { noPull });
    return workspace;
  }

  /** The record of a new one, which `Workspace.create` makes a machine for: at once, or as "created" some time. */
  async reserve(
    { secrets: given = [], ...fields }: Omit<NewWorkspace, "noPull"> & Pick<WorkspaceRecord, "workspaceId">,
    state: "creating" | "created",
  ): Promise<Workspace> {
    const { workspaceId } = fields;
    const secrets = new WorkspaceSecrets(checkSecrets(given), workspaceId);
    secrets.refuseShown(fields);
    const directory = join(this.options.directory, workspaceId);
    const listed = given.map(({ name, sourceKind }) => ({ name, sourceKind }));
    const record = { ...newRecord({ ...fields, secrets: listed }, this.options.now()), state };
    const paths = pathsOf(directory);
    await createRecord(paths, record);
    // Killed before this, it has a record by which the next daemon removes it.
    if (given.length > 0) {
      await saveSecrets(paths.secrets, given).catch(async (error: unknown) => {
        await rm(directory, { recursive: true, force: true });
        throw error;
      });
    }
    const workspace = await Workspace.open(directory, record, secrets, this.options);
    this.#all.set(workspaceId, workspace);
    return workspace;
  }

  /**
   * Running copies of a running workspace, each on its way: its operation says how far it is, and what became of it. One
   * that fails does not take the others along.
   * @throws {PyroError} what beginFork throws, and what starts the workspace where it stopped by itself; nothing is left then
   */
  async fork(
    parent: Workspace,
    request: Omit<ForkRequest, "directory">,
    signal: AbortSignal,
  ): Promise<readonly Workspace[]> {
    await parent.machine(signal);
    const brood = await beginFork(parent, { ...request, directory: this.options.directory }).result;
    const children: Workspace[] = [];
    for (const record of brood.records) {
      const directory = join(this.options.directory, record.workspaceId);
      const secrets = new WorkspaceSecrets(parent.secrets.all, record.workspaceId);
      const child = await Workspace.open(directory, record, secrets, this.options);
      this.#all.set(child.id, child);
      children.push(child);
    }
    const begun = children.map((child) => child.branch(brood.captured).result);
    void Promise.allSettled(begun).then(() => brood[Symbol.asyncDispose]());
    return children;
  }

  /**
   * By id, unique prefix of an id, or unique name.
   * @throws {PyroError} WORKSPACE_NOT_FOUND, AMBIGUOUS_REFERENCE
   */
  find(reference: string): Workspace {
    const known = this.all.map((workspace) => ({ id: workspace.id, name: workspace.record.name, workspace }));
    return resolveReference(reference, known).workspace;
  }

  /** Ends and removes a workspace; deleting one twice at once is fine. */
  async delete(workspace: Workspace): Promise<void> {
    if (!this.#all.delete(workspace.id)) return;
    await workspace.delete();
  }

  /**
   * Stops those that are past their TTL, and deletes those that were stopped, or could not be made, longer ago than the
   * retention: of what a failed one can still tell, that is why it failed. `mayDelete`: whether ages can be trusted.
   */
  reap(mayDelete = true): void {
    if (this.options.whenExpired === "delete") {
      if (mayDelete)
        for (const workspace of this.expired)
          void this.delete(workspace).catch((error: unknown) => this.#failed(workspace, error));
      return;
    }
    const now = this.options.now();
    for (const workspace of this.#all.values()) {
      const { state, stoppedAtMs, lastActivityAtMs } = workspace.record;
      const isOver = state === "stopped" || state === "suspended" || state === "failed";
      const idleMs = this.options.idleSuspendMs ?? 0;
      // What holds a secret keeps its memory off the disk.
      const maySuspend = idleMs > 0 && workspace.secrets.holders.length === 0;
      const unused = state === "started" && maySuspend && workspace.isIdle && now > lastActivityAtMs + idleMs;
      const expired = state === "started" && workspace.isIdle && now > workspace.expiresAtMs;
      const retired = now > (stoppedAtMs ?? lastActivityAtMs) + LIMITS.workspaceRetentionMs;
      if (expired)
        void workspace.stop("ttl").result.catch((error: unknown) => this.#failed(workspace, error));
      else if (unused)
        void workspace.suspend("idle").result.catch((error: unknown) => this.#failed(workspace, error));
      else if (isOver && workspace.isIdle && retired && mayDelete)
        void this.delete(workspace).catch((error: unknown) => this.#failed(workspace, error));
    }
  }

  /** The host's clock was set: guests go by it. */
  #onClockSet(stepMs: number): void {
    this.options.log.warn("clock.set", { step_ms: Math.round(stepMs) });
    for (const workspace of this.#all.values())
      void workspace.runningMachine?.setClock().catch((error: unknown) => {
        const { message } = PyroError.from(error);
        this.options.log.warn("clock.not-set", { workspace: workspace.id, error: message });
      });
  }

  /** Those past their TTL that nothing holds. */
  get expired(): readonly Workspace[] {
    const now = this.options.now();
    return this.all.filter(({ isIdle, record, expiresAtMs }) => isIdle && !record.spent && now > expiresAtMs);
  }

  #failed(workspace: Workspace, error: unknown): void {
    this.options.log.error("workspace.reap", {
      workspace: workspace.id,
      error: PyroError.from(error).message,
    });
  }

  /** Workspaces that have a machine. */
  get runningCount(): number {
    return this.all.filter(({ runningMachine }) => runningMachine !== undefined).length;
  }

  /** Whether anything of them needs this daemon: a machine, or an operation. */
  get isBusy(): boolean {
    return this.all.some((workspace) => workspace.runningMachine !== undefined || !workspace.isIdle);
  }

  /** Flushes and ends all machines; each starts again when its workspace is used. */
  async stopAll(): Promise<void> {
    const running = this.all.filter(({ runningMachine }) => runningMachine !== undefined);
    await Promise.allSettled(running.map((workspace) => workspace.stop("daemon").result));
  }

  /** Lets go of all of them: machines run on for the next daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#reaper);
    await Promise.allSettled(this.all.map((workspace) => workspace.release()));
    this.#all.clear();
  }
}

/** Of a workspace that an earlier daemon left. Without its secrets nothing that it shows could be redacted. */
async function secretsOf(record: WorkspaceRecord, directory: string): Promise<WorkspaceSecrets> {
  const { workspaceId, state } = record;
  if (record.secrets.length === 0) return new WorkspaceSecrets([], workspaceId);
  const secrets = await loadSecrets(pathsOf(directory).secrets);
  // One that could not be made, or is not to be, has nothing to keep.
  if (secrets === undefined && state !== "creating" && state !== "failed")
    throw new Error("the file of its secrets is gone or damaged: what it shows could not be redacted");
  return new WorkspaceSecrets(secrets ?? [], workspaceId);
}
