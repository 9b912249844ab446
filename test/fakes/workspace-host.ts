import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { silentLogger } from "../../src/kit/index.js";
import { networkService } from "../../src/daemon/services/network.js";
import { supervisorService } from "../../src/daemon/services/service.js";
import { shellService } from "../../src/daemon/services/shell.js";
import { workspaceService } from "../../src/daemon/services/workspace.js";
import { workspaceDiskService } from "../../src/daemon/services/workspace-disk.js";
import {
  Seeding,
  startCommand,
  Workspaces,
  type ExecRequest,
  type Exported,
  type NewWorkspace,
  type OutputListener,
  type Populate,
  type Workspace,
  type WorkspaceCommand,
} from "../../src/workspace/index.js";
import { startFakeDaemon, type FakeDaemon } from "./fake-daemon.js";
import { FakeWorkspaceMachines } from "./fake-workspace-machines.js";
import { temporaryState } from "./state-directory.js";
import { FakeNetworks } from "./fake-networks.js";

/** Serves a host's workspaces on a socket, as its daemon does. */
export async function serveWorkspaces(
  host: WorkspaceHost,
): Promise<{ readonly stateDir: string; readonly daemon: FakeDaemon } & AsyncDisposable> {
  const stateDir = host.path("daemon");
  await mkdir(stateDir, { mode: 0o700 });
  const workspaces = workspaceService(host.workspaces, new Seeding(host.scratch));
  const daemon = await startFakeDaemon(stateDir, {
    workspace: workspaces,
    workspaceDisk: workspaceDiskService(host.workspaces),
    supervisor: supervisorService(host.workspaces),
    shell: shellService(host.workspaces),
    network: networkService(host.workspaces),
  });
  return { stateDir, daemon, [Symbol.asyncDispose]: () => Promise.resolve(daemon[Symbol.asyncDispose]()) };
}

/** A host with fake machines, a clock that only tests move, and daemons that come and go. */
export class WorkspaceHost implements AsyncDisposable {
  nowMs = 1_800_000_000_000;
  /** Of the next daemon. */
  idleSuspendMs = 0;
  /** Ports of the host that others hold. */
  readonly takenPorts = new Set<number>();
  /** Those of this daemon. */
  networks = new FakeNetworks(this.takenPorts);
  readonly machines: FakeWorkspaceMachines;
  readonly directory: string;
  workspaces: Workspaces;

  private constructor(private readonly state: Awaited<ReturnType<typeof temporaryState>>) {
    this.machines = new FakeWorkspaceMachines(join(state.path, "trees"));
    this.directory = join(state.path, "workspaces");
    this.workspaces = this.#daemon();
  }

  static async start(): Promise<WorkspaceHost> {
    const host = new WorkspaceHost(await temporaryState());
    await mkdir(host.scratch);
    await host.workspaces.load();
    host.workspaces.adopt();
    return host;
  }

  get scratch(): string {
    return join(this.state.path, "scratch");
  }

  /** A path of the host beside everything else. */
  path(name: string): string {
    return join(this.state.path, name);
  }

  /** The daemon dies where it stands, and the next one takes over. */
  async crash(): Promise<void> {
    this.machines.killDaemon();
    await this.next();
  }

  /** The daemon leaves properly, and the next one takes over. */
  async restart(): Promise<void> {
    await this.workspaces[Symbol.asyncDispose]();
    await this.next();
  }

  async next(): Promise<void> {
    this.workspaces = this.#daemon();
    await this.workspaces.load();
    this.workspaces.adopt();
    await Promise.all(this.workspaces.all.map((each) => each.settle(10_000, NEVER)));
  }

  async create(options: Partial<NewWorkspace> = {}, populate: Populate = empty): Promise<Workspace> {
    const workspace = await this.begin(options, populate);
    await workspace.settle(10_000, NEVER);
    return workspace;
  }

  async begin(options: Partial<NewWorkspace> = {}, populate: Populate = empty): Promise<Workspace> {
    return await this.workspaces.create({ ...FRESH, ...options }, populate);
  }

  /** What is below the directory of all workspaces. */
  async left(): Promise<string[]> {
    return (await readdir(this.directory)).sort();
  }

  /** Workspaces that keep the daemon. */
  get holds(): number {
    return this.workspaces.runningCount;
  }

  #daemon(): Workspaces {
    return new Workspaces({
      directory: this.directory,
      machines: this.machines,
      disks: this.machines.disks,
      networks: (this.networks = new FakeNetworks(this.takenPorts)),
      log: silentLogger,
      idleSuspendMs: this.idleSuspendMs,
      now: () => this.nowMs,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.machines.before = () => undefined;
    for (const workspace of this.workspaces.all) await this.workspaces.delete(workspace);
    await this.workspaces[Symbol.asyncDispose]();
    const running = this.machines.running.size;
    await this.state[Symbol.asyncDispose]();
    if (running > 0) throw new Error(`${running} machines were left running`);
  }
}

/** What an export brought that never was one. */
export const EXPORTED: Exported = {
  ...{ workspacePath: "/workspace/a", outputPath: "/nowhere/a", artifactType: "file", entryCount: 1 },
  ...{ bytesWritten: 2, hostExecutablePaths: [], secretPaths: [], warnings: [] },
};

export const NEVER = new AbortController().signal;

const FRESH: NewWorkspace = {
  name: null,
  labels: {},
  environment: "debian:12",
  vcpuCount: 1,
  memMib: 1024,
  ttlSeconds: 600,
  noPull: false,
};

/** Fills a workspace with one file. */
const empty: Populate = async ({ files }) => {
  await files.write(Buffer.from("/workspace/seeded"), one("as seeded\n"));
  return {
    seed: { mode: "empty", seedPath: null, originKind: "empty", originRef: null, entryCount: 0, bytes: 0 },
    warnings: [],
  };
};

async function* one(text: string): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from(text));
}

/** Starts a shell line. */
export async function start(
  workspace: Workspace,
  command: string,
  options: Partial<ExecRequest> & { listener?: OutputListener } = {},
): Promise<WorkspaceCommand> {
  const { listener, ...rest } = options;
  const request = { argv: [], command, env: [], cwd: "", timeoutMs: undefined, openStdin: false, ...rest };
  return await startCommand(workspace, request, {
    signal: NEVER,
    ...(listener === undefined ? {} : { listener }),
  });
}

/** Runs a shell line to its end, and gives what it wrote in order of arrival. */
export async function run(
  workspace: Workspace,
  command: string,
  options: Partial<ExecRequest> = {},
): Promise<string> {
  const started = await start(workspace, command, options);
  await started.done;
  return await written(started);
}

export async function written(command: WorkspaceCommand, offset = 0, maxBytes = 1_000_000): Promise<string> {
  const { window } = await command.output.view(offset, maxBytes);
  return Buffer.concat([window.head, window.tail]).toString();
}

/** A file of the workspace, as the machine that runs has it. */
export async function content(workspace: Workspace, path: string): Promise<string> {
  const machine = await workspace.machine(NEVER);
  const { data } = await machine.files.read(Buffer.from(`/workspace/${path}`), {});
  const parts: Uint8Array[] = [];
  for await (const part of data) parts.push(part);
  return Buffer.concat(parts).toString();
}
