import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { runService } from "../../src/daemon/services/run.js";
import { vmService } from "../../src/daemon/services/vm.js";
import { silentLogger } from "../../src/kit/index.js";
import { PyroError } from "../../src/protocol/index.js";
import {
  NO_NETWORK,
  RunRegistry,
  Vms,
  type RunView,
  type VmCommand,
  type Workspace,
} from "../../src/workspace/index.js";
import { FakeNetworks } from "./fake-networks.js";
import { startFakeDaemon, type FakeDaemon } from "./fake-daemon.js";
import { FakeSandboxes, type Script } from "./fake-sandbox.js";
import { FakeWorkspaceMachines } from "./fake-workspace-machines.js";
import { temporaryState } from "./state-directory.js";

/** A run in a machine of its own is not what is tested here. */
const unused: Script = async function* () {
  yield { stream: "stdout", data: Buffer.from("unused") };
  return await Promise.resolve({});
};

const NEVER = new AbortController().signal;

/** A host with VMs of the low level over fake machines, a clock that only tests move, and daemons that come and go. */
export class VmHost implements AsyncDisposable {
  nowMs = 1_800_000_000_000;
  readonly machines: FakeWorkspaceMachines;
  runs: RunRegistry;
  vms: Vms;

  private constructor(private readonly state: Awaited<ReturnType<typeof temporaryState>>) {
    this.machines = new FakeWorkspaceMachines(join(state.path, "trees"));
    [this.runs, this.vms] = this.#daemon();
  }

  static async start(): Promise<VmHost> {
    const host = new VmHost(await temporaryState());
    await host.#begin();
    return host;
  }

  /** The daemon dies where it stands, and the next one takes over: runs that had not ended are forgotten. */
  async crash(): Promise<void> {
    this.machines.killDaemon();
    [this.runs, this.vms] = this.#daemon();
    await this.#begin();
    await Promise.all(this.vms.kept.all.map((vm) => vm.settle(10_000, NEVER)));
  }

  async create(ttlSeconds = 600): Promise<Workspace> {
    const shape = { environment: "debian:12", vcpuCount: 1, memMib: 1024 };
    return await this.vms.create({ ...shape, ttlSeconds, network: NO_NETWORK });
  }

  /** Runs a shell line in a VM to its end. */
  async exec(vm: Workspace, command: string, options: Partial<VmCommand> = {}): Promise<RunView> {
    const started = await this.vms.exec(vm, { argv: [], command, env: [], timeoutMs: undefined, ...options });
    return await this.read(started.runId);
  }

  async read(runId: string): Promise<RunView> {
    return await this.runs.read(runId, { offset: 0, maxBytes: 65_536, waitMs: 10_000, signal: NEVER });
  }

  /** Serves them on a socket, as a daemon does. */
  async serve(): Promise<{ readonly stateDir: string; readonly daemon: FakeDaemon } & AsyncDisposable> {
    const stateDir = join(this.state.path, "daemon");
    await mkdir(stateDir, { mode: 0o700 });
    const run = runService(new FakeSandboxes(unused), this.runs);
    const daemon = await startFakeDaemon(stateDir, { vm: vmService(this.vms), run });
    return { stateDir, daemon, [Symbol.asyncDispose]: () => Promise.resolve(daemon[Symbol.asyncDispose]()) };
  }

  /** Directories of VMs. */
  async left(): Promise<string[]> {
    return (await readdir(join(this.state.path, "kept-vms"))).sort();
  }

  #daemon(): [RunRegistry, Vms] {
    const runs = new RunRegistry(join(this.state.path, "runs"), new FakeSandboxes(unused));
    const vms = new Vms({
      ...{
        directory: join(this.state.path, "kept-vms"),
        machines: this.machines,
        disks: this.machines.disks,
        networks: new FakeNetworks(),
        runs,
      },
      requireKnown: (name) =>
        name === "debian:12"
          ? Promise.resolve()
          : Promise.reject(new PyroError("UNKNOWN_ENVIRONMENT", `there is no environment ${name}`)),
      ...{ log: silentLogger, now: () => this.nowMs },
    });
    return [runs, vms];
  }

  async #begin(): Promise<void> {
    await this.vms.load();
    // As `Machines.sweep` does: what no record names is ended.
    for (const [id, machine] of this.machines.running) if (!this.vms.kept.machineIds.has(id)) machine.sweep();
    await this.runs.recover();
    this.vms.kept.adopt();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.machines.before = () => undefined;
    await this.runs[Symbol.asyncDispose]();
    for (const vm of this.vms.kept.all) await this.vms.delete(vm);
    await this.vms[Symbol.asyncDispose]();
    const running = this.machines.running.size;
    await this.state[Symbol.asyncDispose]();
    if (running > 0) throw new Error(`${running} machines were left running`);
  }
}
