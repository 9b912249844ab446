import type { Logger } from "../kit/index.js";
import type { PyroError } from "../protocol/index.js";
import { CommandLog } from "./command-log.js";
import { DiskChain } from "./disk-chain.js";
import { DiskProof } from "./disk-check.js";
import { KeptRecord } from "./kept-record.js";
import { MachineSlot } from "./machine-slot.js";
import { PublishedPorts } from "./published-ports.js";
import type { Report } from "./operation.js";
import { pathsOf, type WorkspacePaths, type WorkspaceRecord } from "./record.js";
import type { RunningCommand } from "./sandbox.js";
import { SavedMemory } from "./saved-memory.js";
import { removeSecrets, SecretHolders, type WorkspaceSecrets } from "./secrets/index.js";
import type { Shells } from "./shells.js";
import type { WorkspaceCommand } from "./workspace-command.js";
import type { WorkspaceDisks } from "./workspace-disks.js";
import type { WorkspaceMachine, WorkspaceMachines, WorkspaceShape } from "./workspace-machine.js";
import type { WorkspaceNetwork, WorkspaceNetworks } from "./workspace-network.js";
import { WorkspaceServices } from "./workspace-services.js";

export interface WorkspaceContext {
  readonly machines: WorkspaceMachines;
  readonly disks: WorkspaceDisks;
  readonly networks: WorkspaceNetworks;
  readonly log: Logger;
  readonly now: () => number;
}

/** What a change of a workspace's disk works on, in the workspace's turn. */
export interface Change {
  readonly chain: DiskChain;
  readonly disks: WorkspaceDisks;
  readonly record: WorkspaceRecord;
  /** The one that runs, if one does. */
  readonly machine: WorkspaceMachine | undefined;
  readonly nowMs: number;
  readonly report: Report;
  readonly save: (change: Partial<WorkspaceRecord>) => Promise<void>;
}

/** What is read of a workspace's directory before there is a workspace. */
export interface KeptParts {
  readonly commands: CommandLog;
  readonly services: WorkspaceServices;
  readonly secrets: WorkspaceSecrets;
  readonly secretHolders: SecretHolders;
  readonly network: WorkspaceNetwork;
  readonly ports: PublishedPorts;
}

/** Reads it; `onQuiet` is called when its last service has ended. */
export async function openParts(
  directory: string,
  { workspaceId, network: policy }: WorkspaceRecord,
  secrets: WorkspaceSecrets,
  networks: WorkspaceNetworks,
  onQuiet: () => void,
): Promise<KeptParts> {
  const paths = pathsOf(directory);
  const { redactor } = secrets;
  const redact = (text: string): string => redactor.text(text);
  const network = await networks.open({ directory, policy, redact });
  const commands = await CommandLog.open(paths.commands, redactor);
  const secretHolders = await SecretHolders.open(paths.secretHolders, secrets);
  const hear = (bytes: Uint8Array): Uint8Array => redactor.bytes(bytes);
  const ports = await PublishedPorts.open({
    ...{ workspaceId, network, path: paths.ports },
    factsOf: (startId) => services.all.find((facts) => facts.startId === startId),
  });
  const services: WorkspaceServices = await WorkspaceServices.open({
    path: paths.services,
    hear,
    onQuiet,
    onEnd: (startId) => ports.drop(startId),
    holders: secretHolders,
  });
  return { commands, services, secrets, secretHolders, network, ports };
}

/**
 * What a workspace consists of, for those who change it in its turn: making, starting, suspending, stopping, resetting
 * and recovering.
 */
export class WorkspaceParts {
  readonly paths: WorkspacePaths;
  readonly kept: KeptRecord;
  readonly chain: DiskChain;
  readonly proof: DiskProof;
  readonly memory: SavedMemory;
  readonly slot: MachineSlot;
  readonly commands: CommandLog;
  readonly services: WorkspaceServices;
  readonly secrets: WorkspaceSecrets;
  readonly secretHolders: SecretHolders;
  readonly network: WorkspaceNetwork;
  readonly ports: PublishedPorts;
  readonly over: AbortController = new AbortController();
  #image: Disposable | undefined;

  constructor(
    directory: string,
    record: WorkspaceRecord,
    kept: KeptParts,
    readonly shells: Shells,
    readonly context: WorkspaceContext,
  ) {
    ({
      commands: this.commands,
      services: this.services,
      secrets: this.secrets,
      secretHolders: this.secretHolders,
      network: this.network,
      ports: this.ports,
    } = kept);
    this.paths = pathsOf(directory);
    this.kept = new KeptRecord(this.paths, record, context.now);
    this.chain = new DiskChain(this.paths, this.kept, context.machines);
    this.proof = new DiskProof(this.kept, this.chain, context.disks);
    this.memory = new SavedMemory(this.paths);
    this.slot = new MachineSlot(this);
    if (record.imageDigest !== null) this.holdImage(record.imageDigest);
  }

  get id(): string {
    return this.record.workspaceId;
  }

  get record(): WorkspaceRecord {
    return this.kept.now;
  }

  /** Aborts when it is deleted, or when the daemon leaves. */
  get signal(): AbortSignal {
    return this.over.signal;
  }

  /** What its machines are made of. */
  get shape(): WorkspaceShape {
    const { environment, vcpuCount, memMib } = this.record;
    return { environment, vcpuCount, memMib };
  }

  /** Keeps its environment's image on the host, until `letGoOfImage`. */
  holdImage(digest: string): void {
    this.#image ??= this.context.machines.holdImage(digest);
  }

  letGoOfImage(): void {
    this.#image?.[Symbol.dispose]();
  }

  /** Moves its last activity to now. */
  async touch(): Promise<void> {
    await this.kept.save(this.kept.touched());
  }

  /** Its machine does from now on what its record says; before that, what makes it fails by itself. */
  watch(machine: WorkspaceMachine): void {
    machine.lost
      .then((error) => this.#onLost(machine, error))
      .catch((error: unknown) => {
        // A full disk: the next daemon finds the machine gone.
        const { message } = this.secrets.error(error);
        this.context.log.warn("workspace.loss-not-recorded", { workspace: this.id, error: message });
      });
  }

  async #onLost(machine: WorkspaceMachine, error: PyroError): Promise<void> {
    // One that is being reset, stopped or deleted loses it on purpose.
    if (this.slot.machine !== machine || this.record.state !== "started") return;
    this.slot.take();
    await machine[Symbol.asyncDispose]();
    // What was about to suspend it has said what became of it.
    if (this.kept.now.state !== "started") return;
    const { code, message, hint } = this.secrets.error(error);
    this.context.log.warn("workspace.machine-lost", { workspace: this.id, error: message });
    await this.crashed({ code, message, hint });
  }

  /** It is stopped, and why; the next call starts it again. */
  async crashed(failure: NonNullable<WorkspaceRecord["failure"]>): Promise<void> {
    await this.services.end("machine_lost", this.context.now());
    await this.secretHolders.clear();
    const stopped = { state: "stopped", stoppedBy: "crash", stoppedAtMs: this.context.now() } as const;
    await this.kept.save({ ...stopped, machineId: null, failure });
  }

  /** It never runs again, and says why until it is deleted. */
  async fail({ code, message, hint }: PyroError): Promise<void> {
    await this.chain.remove();
    await removeSecrets(this.paths.secrets);
    const failed = {
      state: "failed",
      failure: { code, message, hint },
      stoppedAtMs: this.context.now(),
    } as const;
    await this.kept.save({ ...failed, machineId: null });
  }

  /** Ends what is known of commands that run; they themselves end with their machine. */
  async interrupt(reason: string): Promise<void> {
    const running = this.commands.running.map((command) => command.interrupt(reason));
    for (const interrupted of await Promise.allSettled(running))
      if (interrupted.status === "rejected") throw interrupted.reason;
  }

  /**
   * What runs in a machine, from where each command's output was left: those that ran before the machine was in its slot.
   * From then on others begin, which the machine may not know yet and which are followed by whoever starts them.
   */
  async followAll(left: readonly WorkspaceCommand[], machine: WorkspaceMachine, graceMs = 0): Promise<void> {
    for (const command of left) {
      this.holdSecrets(command);
      const running = await machine.follow(command.processId, command.output.position).catch(() => undefined);
      if (running === undefined) await command.interrupt("its machine does not know it any more");
      else this.keep(command, running, machine, graceMs);
    }
  }

  /** Notes the secrets that a command was given, as long as it runs. */
  holdSecrets({ sequence, facts, done }: WorkspaceCommand): void {
    const held = this.secrets.hold({
      kind: "command",
      name: String(sequence),
      secrets: facts.secrets ?? [],
    });
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
}
