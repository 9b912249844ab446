import { cp, mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freshId } from "../../src/kit/index.js";
import { PyroError } from "../../src/protocol/index.js";
import type {
  EnvironmentConfig,
  WorkspaceDisks,
  WorkspaceLayers,
  WorkspaceMachine,
  WorkspaceMachines,
} from "../../src/workspace/index.js";
import { Connection, FakeProcess, type StartSpec } from "./fake-process.js";
import { FakeSupervisor } from "./fake-supervisor.js";
import { FakeShells } from "./fake-shells.js";
import { guestError, hostFiles, type HostTrees } from "./host-files.js";

/** What the fake does, in order; a hook may refuse, wait, or lose the machine at each. */
export type Step = string;

/**
 * A host with machines for workspaces, without VMs: /workspace is a directory, a layer is a file that names one,
 * commands are children of this process. Machines outlive the Workspaces that made them and can be adopted by others.
 */
export class FakeWorkspaceMachines implements WorkspaceMachines {
  readonly running = new Map<string, FakeMachine>();
  /** By the directory that holds their memory. */
  readonly suspended = new Map<string, FakeMachine>();
  readonly steps: Step[] = [];
  readonly held = new Set<string>();
  /** What the environment of the next new machine says. */
  config: EnvironmentConfig | undefined;
  /** What was saved, of which layers, and with what configuration. */
  readonly environments = new Map<string, WorkspaceLayers & { config: EnvironmentConfig | null }>();
  /** Called at each step, with the signal of the call where it has one. */
  before: (step: Step, signal?: AbortSignal) => Promise<void> | void = () => undefined;
  #count = 0;

  constructor(private readonly root: string) {}

  get machine(): FakeMachine {
    const last = [...this.running.values()].at(-1);
    if (last === undefined) throw new Error("no machine runs");
    return last;
  }

  async make(...[, layers, { signal, onPhase }]: Parameters<WorkspaceMachines["make"]>) {
    onPhase?.({ phase: "booting", message: "a fake boots", progress: 0.5 });
    await this.step("make", signal);
    const active = await this.#directory();
    await writeFile(layers.baseline, active);
    const machine = this.#boot({ active, baseline: undefined });
    return {
      machine: machine.connect(),
      imageDigest: "sha256:fake",
      ...(this.config === undefined ? {} : { config: this.config }),
      seal: async () => {
        await this.step("seal", signal);
        const baseline = await this.#directory(active);
        await writeFile(layers.baseline, baseline);
        await writeFile(layers.active, active);
        machine.trees = { active, baseline };
      },
    };
  }

  async open(...[, layers, { signal, onPhase }]: Parameters<WorkspaceMachines["open"]>) {
    onPhase?.({ phase: "booting", message: "a fake boots again" });
    await this.step("open", signal);
    return this.#boot(await treesOf(layers)).connect();
  }

  async resume(...[, layers, { directory, beforeRun }, { signal }]: Parameters<WorkspaceMachines["resume"]>) {
    await this.step("resume", signal);
    const from = await readFile(join(directory, "memory"), "utf8");
    const machine = this.suspended.get(from) ?? (await this.#revived(from, layers));
    if (machine === undefined)
      throw new PyroError("SAVED_MEMORY_DAMAGED", "it is no memory", { hint: "stop it" });
    await beforeRun();
    await this.step("run", signal);
    this.suspended.delete(from);
    machine.id = `vm-fake${(this.#count += 1)}`;
    this.running.set(machine.id, machine);
    machine.signalAll("SIGCONT");
    return machine.connect();
  }

  async branch(...[, layers, , { signal }]: Parameters<WorkspaceMachines["branch"]>) {
    await this.step("branch", signal);
    return this.#boot(await treesOf(layers)).connect();
  }

  async adopt(machineId: string) {
    await this.step("adopt");
    return this.running.get(machineId)?.connect();
  }

  async renew(layers: WorkspaceLayers) {
    await this.step("renew");
    const below = layers.sealed.at(-1) ?? layers.baseline;
    const fresh = `${layers.active}.${freshId("new")}`;
    await writeFile(fresh, await this.#directory(await readFile(below, "utf8")));
    await rename(fresh, layers.active);
  }

  /** What the machine wrote until now becomes what the uppermost sealed layer names; it goes on in the same directory. */
  async put(machine: FakeMachine, layers: WorkspaceLayers, name: string): Promise<void> {
    await this.step("put");
    await writeFile(layers.active, machine.trees.active);
    await this.step("held");
    const frozen = await this.#directory(machine.trees.active);
    await writeFile(layers.sealed.at(-1) ?? "", frozen);
    machine.top = name;
    await this.step("letGo");
  }

  /** Disks that no machine runs on. */
  get disks(): WorkspaceDisks {
    return {
      open: async (layers, signal) => {
        await this.step("openDisk", signal);
        const files = hostFiles({ active: await readFile(layers.active, "utf8"), baseline: undefined });
        return {
          list: (path, options) => files.list(path, options),
          read: (path, options) => files.read(path, options),
          [Symbol.asyncDispose]: () => this.step("closeDisk"),
        };
      },
      copy: async (layers, path, signal) => {
        await this.step("copyDisk", signal);
        await writeFile(path, `disk of ${layers.sealed.length} sealed layers`, { flag: "wx" });
      },
      claim: async (name, { overwrite }) => {
        await this.step("claim");
        if (this.environments.has(name) && !overwrite)
          throw new PyroError("ENVIRONMENT_EXISTS", `there is ${name} already`, { hint: "another name" });
        return {
          make: async (layers, { config, onContent, beforeSealing, report, signal }) => {
            report({ message: "a fake copies", progress: 0.5 });
            await this.step("copyFiles", signal);
            const tree = await readFile(layers.active, "utf8");
            for (const file of await readdir(tree)) {
              onContent?.({ path: Buffer.from(file) });
              onContent?.({ data: await readFile(join(tree, file)) });
            }
            beforeSealing();
            this.environments.set(name, { ...layers, config });
            return { name, digest: "sha256:saved", sizeBytes: 1000, entryCount: 10 };
          },
          [Symbol.asyncDispose]: () => this.step("letGoOfName"),
        };
      },
      check: async (path, signal) => {
        await this.step("checkDisk", signal);
        return (await readFile(path, "utf8")).startsWith("/") ? undefined : "the fake cannot read it";
      },
    };
  }

  holdImage(digest: string): Disposable {
    const hold = `${digest} ${(this.#count += 1)}`;
    this.held.add(hold);
    return { [Symbol.dispose]: () => void this.held.delete(hold) };
  }

  /** The daemon was killed: what it was doing goes no further, its connections are gone, machines run on. */
  killDaemon(): void {
    for (const machine of this.running.values()) machine.cut();
    this.before = () => undefined;
    this.held.clear();
  }

  async step(step: Step, signal?: AbortSignal): Promise<void> {
    this.steps.push(step);
    await this.before(step, signal);
    signal?.throwIfAborted();
  }

  async #directory(from?: string): Promise<string> {
    const path = join(this.root, freshId("tree"));
    await mkdir(path, { recursive: true });
    if (from !== undefined) await cp(from, path, { recursive: true, verbatimSymlinks: true });
    return path;
  }

  /** Of another process, or captured: what ran in it is not known here. */
  async #revived(memory: string, layers: WorkspaceLayers): Promise<FakeMachine | undefined> {
    if (!memory.startsWith("{")) return undefined;
    const { trees } = JSON.parse(memory) as { trees?: HostTrees };
    return new FakeMachine("", trees ?? (await treesOf(layers)), this);
  }

  #boot(trees: HostTrees): FakeMachine {
    const machine = new FakeMachine(`vm-fake${(this.#count += 1)}`, trees, this);
    this.running.set(machine.id, machine);
    return machine;
  }
}

/** The directories that a disk's files name. */
async function treesOf({ active, baseline }: WorkspaceLayers): Promise<HostTrees> {
  return { active: await readFile(active, "utf8"), baseline: await readFile(baseline, "utf8") };
}

/** One machine: what its agent knows of commands, whoever is connected. */
export class FakeMachine {
  readonly processes = new Map<string, FakeProcess>();
  /** What each was started with. */
  readonly started: StartSpec[] = [];
  /** The layer that was put last. */
  top = "disk0";
  readonly supervisor = new FakeSupervisor();
  readonly shells = new FakeShells();
  #connection: Connection | undefined;

  constructor(
    public id: string,
    public trees: HostTrees,
    private readonly host: FakeWorkspaceMachines,
  ) {}

  connect(): WorkspaceMachine {
    const connection = new Connection();
    this.#connection = connection;
    const release = (): Promise<void> => {
      connection.end(guestError("GUEST_DISCONNECTED", "the connection was closed"));
      return Promise.resolve();
    };
    const files = (): WorkspaceMachine["files"] => hostFiles(this.trees, (step) => this.host.step(step));
    const host = this.host;
    let isSuspended = false;
    return {
      services: this.supervisor.face(connection.signal),
      id: this.id,
      isolation: "software",
      guestKernel: "6.1-fake",
      pid: process.pid,
      hindrance: undefined,
      lost: connection.lost,
      get files() {
        return files();
      },
      network: {
        serve: async (_, egress) => {
          await host.step(egress ? "letOut" : "keepIn");
        },
        dial: () => Promise.reject(new PyroError("VM_CRASHED", "no fake listens", { hint: "" })),
      },
      shells: this.shells.connect((step) => host.step(step), connection.signal),
      start: async (spec) => {
        await host.step("start");
        this.started.push(spec);
        const child = await FakeProcess.start(spec, this.trees.active);
        this.processes.set(spec.processId, child);
        return child.follow({ stdout: 0, stderr: 0 }, connection);
      },
      follow: async (processId, from) => {
        await host.step("follow");
        return this.#process(processId).follow(from, connection);
      },
      forget: async (processId) => {
        await host.step("forget");
        if (!connection.isOpen) throw guestError("GUEST_DISCONNECTED", "the connection was closed");
        this.#process(processId).kill();
        this.processes.delete(processId);
      },
      kill: (processId) => {
        this.#process(processId).kill();
        return Promise.resolve();
      },
      flush: async () => {
        await host.step("flush");
      },
      setClock: async () => {
        await host.step("setClock");
      },
      suspend: async (directory) => {
        await host.step("suspend");
        const name = JSON.stringify({ name: freshId("memory"), trees: this.trees });
        await writeFile(join(directory, "memory"), name);
        this.signalAll("SIGSTOP");
        host.suspended.set(name, this);
        isSuspended = true;
        return {
          wake: () => {
            isSuspended = false;
            host.suspended.delete(name);
            this.signalAll("SIGCONT");
            return Promise.resolve();
          },
        };
      },
      shutDown: async () => {
        await host.step("shutDown");
        this.#end();
      },
      putLayer: async (layers, name) => {
        if (!connection.isOpen) throw guestError("GUEST_DISCONNECTED", "the connection was closed");
        await host.put(this, layers, name);
      },
      capture: async (layers, name, whileStill) => {
        await host.step("capture");
        await host.put(this, layers, name);
        await whileStill();
        const dispose = async (): Promise<void> => await host.step("let go of what was captured");
        const store = async (directory: string, signal: AbortSignal): Promise<void> => {
          await host.step("store", signal);
          await writeFile(join(directory, "memory"), JSON.stringify({}));
        };
        return { usedBytes: 1, pauseMs: 0, store, [Symbol.asyncDispose]: dispose };
      },
      topLayer: async () => {
        await host.step("topLayer");
        if (!host.running.has(this.id)) throw new PyroError("VM_CRASHED", "the fake is gone", { hint: "" });
        return this.top;
      },
      release,
      [Symbol.asyncDispose]: () => {
        if (isSuspended) {
          host.running.delete(this.id);
          connection.end(guestError("GUEST_DISCONNECTED", "the machine was ended"));
        } else this.#end();
        return Promise.resolve();
      },
    };
  }

  signalAll(name: NodeJS.Signals): void {
    for (const child of this.processes.values()) child.kill(name);
  }

  /** It crashes. */
  lose(error = new PyroError("VM_CRASHED", "the fake crashed", { hint: "it was told to" })): void {
    const connection = this.#connection;
    this.#end(error);
    connection?.lose(error);
  }

  /** A daemon that no record names it to ends it; the one that made it is gone, and hears nothing. */
  sweep(): void {
    this.#end();
  }

  /** Whoever is connected hears nothing any more. */
  cut(): void {
    this.#connection?.cut();
  }

  #process(processId: string): FakeProcess {
    const found = this.processes.get(processId);
    if (found === undefined) throw guestError("PROCESS_NOT_FOUND", `there is no process ${processId}`);
    return found;
  }

  #end(error = guestError("GUEST_DISCONNECTED", "the machine was ended")): void {
    this.host.running.delete(this.id);
    this.#connection?.end(error);
    for (const child of this.processes.values()) child.kill();
    this.shells.end();
  }
}
