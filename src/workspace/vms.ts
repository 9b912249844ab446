import { freshId, untilAborted, type Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { resolveCommand, type CommandRequest } from "./command-line.js";
import { Operation } from "./operation.js";
import type { WorkspaceRecord } from "./record.js";
import type { RunRegistry, RunView } from "./run-registry.js";
import type { Sandbox, SandboxFactory } from "./sandbox.js";
import { asVmError, lostVm, noSuchVm, severalVms, spentVm } from "./vm-errors.js";
import type { NetworkPolicyText, WorkspaceNetworks } from "./workspace-network.js";
import type { WorkspaceDisks } from "./workspace-disks.js";
import type { WorkspaceMachines } from "./workspace-machine.js";
import type { Populate } from "./making.js";
import type { Workspace } from "./workspace.js";
import { Workspaces } from "./workspaces.js";

export interface VmsOptions {
  /** One directory per VM below it. */
  readonly directory: string;
  readonly machines: WorkspaceMachines;
  readonly disks: WorkspaceDisks;
  readonly networks: WorkspaceNetworks;
  readonly runs: RunRegistry;
  /** @throws {PyroError} UNKNOWN_ENVIRONMENT */
  readonly requireKnown: (environment: string) => Promise<unknown>;
  readonly log: Logger;
  readonly now: () => number;
}

/** What a VM is made of. */
export type NewVm = Pick<WorkspaceRecord, "environment" | "vcpuCount" | "memMib" | "ttlSeconds"> & {
  readonly network: NetworkPolicyText;
};

/** Its command, and how long that may take. */
export interface VmCommand extends CommandRequest {
  readonly timeoutMs: number | undefined;
}

export type VmState = "created" | "started" | "stopped";

/**
 * VMs for callers who want the low level: each is a workspace without seed, name and history, is made by its first
 * start, takes one command, and is deleted after that, or past its TTL. One that could not be started is as it was
 * created, and says why.
 */
export class Vms implements AsyncDisposable {
  /** What they are underneath. */
  readonly kept: Workspaces;
  /** The first start of each, which must not be done twice. */
  readonly #made = new WeakMap<Workspace, Operation<void>>();

  constructor(private readonly options: VmsOptions) {
    const { directory, machines, disks, networks, log, now } = options;
    this.kept = new Workspaces({ directory, machines, disks, networks, log, now, whenExpired: "delete" });
  }

  /** Finds what an earlier daemon left, and removes what was spent: the command's run ended with that daemon. */
  async load(): Promise<void> {
    await this.kept.load();
    for (const vm of this.kept.all) if (vm.record.spent) await this.kept.delete(vm);
  }

  /** @throws {PyroError} UNKNOWN_ENVIRONMENT */
  async create(fields: NewVm): Promise<Workspace> {
    await this.options.requireKnown(fields.environment);
    const named = { workspaceId: freshId("vm"), name: null, labels: {} };
    return await this.kept.reserve({ ...named, ...fields }, "created");
  }

  /**
   * By its id, or a unique prefix of it.
   * @throws {PyroError} VM_NOT_FOUND, AMBIGUOUS_REFERENCE
   */
  find(reference: string): Workspace {
    const all = this.kept.all;
    const fits = all.filter(({ id }) => id === reference || (reference !== "" && id.startsWith(reference)));
    const [first, ...others] = fits;
    if (first === undefined) throw noSuchVm(reference);
    if (others.length > 0)
      throw severalVms(
        reference,
        fits.map(({ id }) => id),
      );
    return first;
  }

  /** Boots it: for the first time over its environment, later over what its disk holds. */
  start(vm: Workspace): Operation<void> {
    if (vm.record.spent) return new Operation<void>("start", () => Promise.reject(spentVm(vm.id)));
    return this.#start(vm);
  }

  #start(vm: Workspace): Operation<void> {
    const making = this.#made.get(vm);
    if (making?.isRunning === true) return making;
    if (vmStateOf(vm) !== "created") return vm.start();
    const begun = vm.create(nothing, { noPull: false });
    this.#made.set(vm, begun);
    return begun;
  }

  /** Flushes its disk and powers off; one that never ran stays as it is. */
  stop(vm: Workspace): Operation<void> {
    if (vm.record.spent) return new Operation<void>("stop", () => Promise.reject(spentVm(vm.id)));
    const runs = vm.record.state === "started" || vm.operation?.state === "running";
    return runs ? vm.stop("user") : new Operation<void>("stop", () => Promise.resolve());
  }

  async delete(vm: Workspace): Promise<void> {
    await this.kept.delete(vm);
  }

  /** Deletes those past their TTL now; gives their ids. */
  async reapExpired(): Promise<readonly string[]> {
    const { expired } = this.kept;
    await Promise.all(expired.map((vm) => this.kept.delete(vm)));
    return expired.map(({ id }) => id);
  }

  /**
   * Starts one command, and the VM where it does not run, as a run that goes on without its caller. The VM is deleted
   * when that is over, however it ends; a daemon that dies meanwhile leaves it to the next one to delete.
   * @throws {PyroError} INVALID_ARGUMENT and the like: the VM stays then; VM_SPENT where it has a command already
   */
  async exec(vm: Workspace, command: VmCommand): Promise<RunView> {
    // What cannot be run at all costs no VM.
    resolveCommand(command);
    if (vm.record.spent) throw spentVm(vm.id);
    await vm.update({ spent: true });
    const { environment, vcpuCount, memMib, ttlSeconds, network } = vm.record;
    const spec = { environment, vcpuCount, memMib, ttlMs: ttlSeconds * 1000, network, noPull: false };
    return await this.options.runs.start({ ...spec, ...command }, this.#onlyOnce(vm));
  }

  /** The VM as a machine for one command: disposing of it deletes it. */
  #onlyOnce(vm: Workspace): SandboxFactory {
    return {
      open: async (_, { signal, onPhase }): Promise<Sandbox> => {
        const since = performance.now();
        try {
          onPhase?.({ phase: "booting", message: "the VM starts" });
          await untilAborted(this.#start(vm).result, signal);
          const machine = vm.runningMachine;
          if (machine === undefined) throw lostVm(vm.id);
          const { isolation, guestKernel } = machine;
          const { config } = vm.record;
          return {
            ...(config === null ? {} : { config }),
            ...{ isolation, guestKernel, startupUs: (performance.now() - since) * 1000 },
            lost: Promise.race([machine.lost, deletion(vm)]),
            start: (command) => machine.start({ ...command, processId: "vm-exec" }),
            [Symbol.asyncDispose]: () => this.delete(vm),
          };
        } catch (error) {
          await this.delete(vm);
          throw asVmError(PyroError.from(error), vm.id);
        }
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kept[Symbol.asyncDispose]();
  }
}

/** Resolves, with the reason, when somebody deletes it or the daemon leaves. */
function deletion({ id, signal }: Workspace): Promise<PyroError> {
  return new Promise((resolve) => {
    const say = (): void => resolve(asVmError(PyroError.from(signal.reason), id));
    if (signal.aborted) say();
    else signal.addEventListener("abort", say, { once: true });
  });
}

/** What its callers are told: how it came about is no state of its own. */
export function vmStateOf({ record: { state } }: Workspace): VmState {
  if (state === "started") return "started";
  return state === "stopped" || state === "resetting" ? "stopped" : "created";
}

/** A VM begins with its environment, and nothing besides. */
const nothing: Populate = () =>
  Promise.resolve({
    seed: { mode: "empty", seedPath: null, originKind: "empty", originRef: null, entryCount: 0, bytes: 0 },
    warnings: [],
  });
