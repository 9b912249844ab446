import { closeSync, openSync } from "node:fs";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { launch, shortSocketPath, sleep } from "../../src/kit/index.js";
import { PyroError } from "../../src/protocol/index.js";
import type {
  Machine,
  MachineDiagnostics,
  MachineExit,
  MachineSpec,
  StartOptions,
  VmmCapabilities,
  VmmDriver,
} from "../../src/vmm/index.js";
import { AdoptedProcess, type MachineProcess } from "../../src/vmm/qemu/adopted-process.js";
import { endProcess, processesNamed } from "../../src/vmm/qemu/processes.js";

export interface FakeVmmOptions {
  /** What happens at start; default: it works. */
  readonly atStart?: "exit" | "hang" | "garbage";
  /** How long a start that hangs takes to be given up; default 200. */
  readonly hangMs?: number;
  /** Ends each machine by itself, so long after its start. */
  readonly dieAfterMs?: number;
  /** Serves each connection to the agent's socket; default: an echo. */
  readonly guest?: (socket: Socket) => void;
  readonly consoleTail?: string;
  /** What every save, or every restore, ends with; default: it works. */
  readonly failing?: "save" | "restore";
  /** Names this fake in `fingerprint`. */
  readonly build?: string;
  /** Default true. */
  readonly memorySnapshots?: boolean;
}

/**
 * Machines without virtual machines: a child process that sleeps (so that kill, stop and sweep are real) and the
 * agent's socket served by this process. Passes test/contract/vmm-driver.ts.
 */
export class FakeVmmDriver implements VmmDriver {
  readonly capabilities: VmmCapabilities;
  /** What was started, in order. */
  readonly started: MachineSpec[] = [];
  /** Ids of those that were to go on from a saved state. */
  readonly restored: string[] = [];
  /** Ids of those that were paused, in order. */
  readonly paused: string[] = [];
  /** Overlays that machines write to since their disks were sealed, in order. */
  readonly sealed: string[] = [];
  /** Names of the layers that were put on, by machine: they outlive whoever put them. */
  readonly tops = new Map<string, string>();

  constructor(readonly options: FakeVmmOptions = {}) {
    this.capabilities = { isolations: ["software"], memorySnapshots: options.memorySnapshots ?? true };
  }

  async start(spec: MachineSpec, { signal, restore, beforeRun }: StartOptions = {}): Promise<Machine> {
    signal?.throwIfAborted();
    this.started.push(spec);
    if (restore !== undefined) {
      this.restored.push(spec.id);
      const state = await readFile(restore.stateFile, "utf8");
      const { size } = await stat(spec.memoryFile ?? restore.memoryFile);
      if (this.options.failing === "restore" || state !== stateOf(spec) || size !== spec.memMib * 1024 ** 2)
        throw new PyroError("VM_RESTORE_FAILED", "the fake cannot load this", { hint: "it was told to" });
    }
    const sleeper = ["-e", "setInterval(() => undefined, 1000)", "--", "-name", spec.id];
    const child = await launch(process.execPath, sleeper, {
      cwd: spec.directory,
      graceMs: 0,
      outlives: true,
    });
    try {
      await this.#fail(signal);
      const machine = await this.#machine(spec, child);
      await beforeRun?.(machine);
      signal?.throwIfAborted();
      return machine;
    } catch (error) {
      await child.close();
      throw error;
    }
  }

  async adopt(spec: Pick<MachineSpec, "id" | "isolation" | "directory">): Promise<Machine | undefined> {
    const [found] = await processesNamed(spec.id);
    if (found === undefined) return undefined;
    return await this.#machine({ ...spec, vcpuCount: 1, memMib: 64, disks: [] }, new AdoptedProcess(found));
  }

  async #machine(spec: MachineSpec, process: MachineProcess): Promise<FakeMachine> {
    const guest = this.options.guest ?? ((socket) => socket.pipe(socket));
    await rm(join(spec.directory, "agent.sock"), { force: true });
    const server = await listen(join(spec.directory, "agent.sock"), guest);
    return new FakeMachine(spec, process, server, this.options, this);
  }

  fingerprint(): Promise<string> {
    return Promise.resolve(this.options.build ?? "fake 1");
  }

  async sweep(id: string): Promise<void> {
    for (const found of await processesNamed(id)) await endProcess(found);
  }

  async #fail(signal: AbortSignal | undefined): Promise<void> {
    switch (this.options.atStart) {
      case "exit":
        throw new PyroError("VM_START_FAILED", "the fake exited with 1", { hint: "it was told to" });
      case "hang":
        await sleep(this.options.hangMs ?? 200, signal);
        throw new PyroError("VMM_PROTOCOL_ERROR", "the fake is silent", { hint: "it was told to" });
      case "garbage":
        throw new PyroError("VMM_PROTOCOL_ERROR", "the fake talks garbage", { hint: "it was told to" });
      case undefined:
        await sleep(1, signal);
    }
  }
}

class FakeMachine implements Machine {
  readonly id: string;
  readonly isolation;
  readonly pid: number;
  readonly memoryFile: string | undefined;
  readonly agentSocket: string;
  readonly exited: Promise<MachineExit>;
  readonly #child: MachineProcess;
  readonly #consoleTail: string;
  readonly #spec: MachineSpec;
  readonly #server: AgentServer;
  readonly #failing: FakeVmmOptions["failing"];
  #ended = false;
  #paused = false;

  constructor(
    spec: MachineSpec,
    child: MachineProcess,
    server: AgentServer,
    options: FakeVmmOptions,
    readonly driver: Pick<FakeVmmDriver, "paused" | "sealed" | "tops">,
  ) {
    this.#spec = spec;
    this.#server = server;
    this.#failing = options.failing;
    this.id = spec.id;
    this.isolation = spec.isolation;
    this.pid = child.pid;
    // As the real one: whoever made it may let go of it.
    const memory = spec.memoryFile === undefined ? undefined : openSync(spec.memoryFile, "r");
    this.memoryFile = memory === undefined ? undefined : `/proc/${process.pid}/fd/${memory}`;
    this.agentSocket = join(spec.directory, "agent.sock");
    this.#child = child;
    this.#consoleTail = options.consoleTail ?? "";
    const death =
      options.dieAfterMs === undefined ? undefined : setTimeout(() => void child.close(), options.dieAfterMs);
    this.exited = child.exited.then(async ({ code, signal }) => {
      this.#ended = true;
      if (memory !== undefined) closeSync(memory);
      clearTimeout(death);
      await server.close();
      await rm(this.agentSocket, { force: true });
      return { code, signal };
    });
  }

  async status(): Promise<"running" | "paused" | "ended" | "unresponsive"> {
    if (this.#ended) return "ended";
    const stat = await readFile(`/proc/${this.pid}/stat`, "latin1").catch(() => ") Z");
    const state = stat.slice(stat.lastIndexOf(")") + 2)[0];
    if (state === "T") return "unresponsive";
    return state === "Z" ? "ended" : this.#paused ? "paused" : "running";
  }

  pause(): Promise<void> {
    this.#paused = true;
    this.driver.paused.push(this.id);
    return Promise.resolve();
  }

  async save(stateFile: string): Promise<void> {
    if (this.#ended || this.#failing === "save")
      throw new PyroError("VM_SAVE_FAILED", "the fake does not save", { hint: "it was told to" });
    await this.pause();
    await writeFile(stateFile, stateOf(this.#spec), { flag: "wx" });
  }

  sealDisk(_index: number, _slot: number, overlay: string): Promise<void> {
    if (this.#ended)
      return Promise.reject(new PyroError("VM_CRASHED", "the fake is gone", { hint: "start it again" }));
    this.driver.sealed.push(overlay);
    return Promise.resolve();
  }

  putLayer(_index: number, overlay: string, name: string): Promise<void> {
    if (this.#ended)
      return Promise.reject(new PyroError("VM_CRASHED", "the fake is gone", { hint: "start it again" }));
    this.driver.sealed.push(overlay);
    this.driver.tops.set(this.id, name);
    return Promise.resolve();
  }

  topLayer(index: number): Promise<string> {
    if (this.#ended)
      return Promise.reject(new PyroError("VM_CRASHED", "the fake is gone", { hint: "start it again" }));
    return Promise.resolve(this.driver.tops.get(this.id) ?? `disk${index}`);
  }

  resume(): Promise<void> {
    this.#paused = false;
    return Promise.resolve();
  }

  diagnostics(): Promise<MachineDiagnostics> {
    return Promise.resolve({ consoleTail: this.#consoleTail, stderrTail: this.#child.stderrTail() });
  }

  async release(): Promise<void> {
    await this.#server.close();
  }

  async kill(): Promise<MachineExit> {
    await this.#child.close();
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

function stateOf({ vcpuCount, memMib, disks }: MachineSpec): string {
  return JSON.stringify({ fake: 1, vcpuCount, memMib, disks: disks.length });
}

interface AgentServer {
  close(): Promise<void>;
}

async function listen(path: string, onConnection: (socket: Socket) => void): Promise<AgentServer> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
    onConnection(socket);
  });
  await using short = await shortSocketPath(path);
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(short.path, resolve));
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
