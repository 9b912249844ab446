import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { GuestConnection } from "../guest/index.js";
import { failpoint, freshId, readJsonFile, sleep, type Logger, type Slots } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  bootMachine,
  type Disk,
  type DiskSlot,
  type Isolation,
  type Machine,
  type SavedMachine,
  type VmmDriver,
} from "../vmm/index.js";
import { AgentLine } from "./agent-line.js";

/** What a machine is for. All end with the daemon that started them, or are removed by the next, but those that workspaces live in. */
export type MachineKind = "sandbox" | "builder" | "probe" | "template";

/** A machine that booted, with its agent on the line. Disposing of it ends it and removes its directory. */
export interface BootedMachine extends AsyncDisposable {
  readonly machine: Machine;
  readonly directory: string;
  /** From the start of the process to the agent's hello. */
  readonly bootMs: number;
  readonly guest: GuestConnection;
  /** To the agent, for all who speak to it at once. */
  readonly line: AgentLine;
  /** Of what the machine went on from (templateKey), also after an adoption: what it is saved as. Empty where it booted. */
  readonly savedAs: string;
  /** A connection anew after the old one broke while the machine runs on. */
  reconnect(signal?: AbortSignal): Promise<GuestConnection>;
  /** Lets go of it: it runs on, and its directory stays, for the next daemon. */
  release(): Promise<void>;
}

export interface BootRequest {
  readonly kind: MachineKind;
  readonly vcpuCount: number;
  readonly memMib: number;
  readonly isolation: Isolation;
  /** Makes or names the disks, given the machine's own directory. */
  readonly disks: (directory: string) => Promise<readonly (Disk | DiskSlot)[]>;
  /** RAM in this file, for a machine that is to be saved. */
  readonly memoryFile?: string;
  /** Goes on from this instead of booting. */
  readonly restore?: SavedMachine;
  /** The key of that. */
  readonly savedAs?: string;
  /** Called when the guest is about to go on. */
  readonly beforeRun?: () => Promise<void>;
  readonly timeoutMs?: number;
  /** Called when the boot leaves the queue. */
  readonly onBooting?: () => void;
}

export interface MachinesOptions {
  /** One directory per machine below it. */
  readonly directory: string;
  readonly driver: VmmDriver;
  /** Bounds how many boot at once. */
  readonly slots: Slots;
  readonly connect: (
    agentSocket: string,
    options: { readonly signal?: AbortSignal },
  ) => Promise<GuestConnection>;
  readonly log: Logger;
}

/** A step in which the machine's record says what the directory is, written before anything runs (threats.md R8). */
const RECORD_FORMAT = 1;
const recordSchema = z.object({ savedAs: z.string() });

/** What an aborted boot may take to clean up; what is left then, the next daemon sweeps. */
const CLOSE_MS = 5_000;

/** The machines of this daemon, and what an earlier one left of its own. */
export class Machines {
  /** Ids of machines whose directory stands. */
  readonly #running = new Set<string>();
  readonly #booted = new Set<BootedMachine>();

  constructor(private readonly options: MachinesOptions) {}

  get runningCount(): number {
    return this.#running.size;
  }

  /**
   * Ends and removes what an earlier daemon left. A directory is removed only after its process is gone, and a process
   * is only started after its directory stands: so nothing escapes. `kept` are ids of machines to be adopted.
   */
  async sweep(kept: ReadonlySet<string> = new Set()): Promise<void> {
    await mkdir(this.options.directory, { recursive: true, mode: 0o711 });
    for (const id of await readdir(this.options.directory)) {
      if (kept.has(id)) continue;
      this.options.log.info("machine.sweep", { machine: id });
      await this.options.driver.sweep(id);
      await rm(join(this.options.directory, id), { recursive: true, force: true });
    }
  }

  /**
   * Boots a machine to its agent's hello.
   * @throws {PyroError} VM_START_FAILED, VM_BOOT_TIMEOUT, VM_CRASHED, …; nothing is left then
   */
  async boot(request: BootRequest, signal: AbortSignal): Promise<BootedMachine> {
    const { driver, slots, connect } = this.options;
    const id = freshId("vm");
    const directory = join(this.options.directory, id);
    await mkdir(directory, { mode: 0o700 });
    this.#running.add(id);
    try {
      // Of use while the host runs, as its machine is: nothing of it has to be on the disk.
      await writeFile(
        join(directory, "record.json"),
        JSON.stringify({
          ...{ format: RECORD_FORMAT, kind: request.kind, createdAtMs: Date.now() },
          savedAs: request.savedAs ?? "",
        }),
        { mode: 0o600 },
      );
      failpoint("machine.recorded");
      const disks = await request.disks(directory);
      failpoint("machine.disks");
      const { vcpuCount, memMib, isolation, memoryFile } = request;
      const memory = memoryFile === undefined ? {} : { memoryFile };
      const {
        machine,
        hello: guest,
        bootMs,
      } = await bootMachine(
        driver,
        { id, vcpuCount, memMib, disks, isolation, directory, ...memory },
        (booting, bootSignal) => {
          failpoint("machine.started");
          return connect(booting.agentSocket, { signal: bootSignal });
        },
        {
          slots,
          signal,
          ...(request.restore === undefined ? {} : { restore: request.restore }),
          ...(request.beforeRun === undefined ? {} : { beforeRun: request.beforeRun }),
          ...(request.timeoutMs === undefined ? {} : { timeoutMs: request.timeoutMs }),
          ...(request.onBooting === undefined ? {} : { onStart: request.onBooting }),
        },
      );
      failpoint("machine.booted");
      const { savedAs = "" } = request;
      const booted = this.#toBooted(machine, guest, { directory, bootMs, savedAs });
      this.#booted.add(booted);
      return booted;
    } catch (error) {
      await this.#remove(id, directory);
      throw error;
    }
  }

  /**
   * Takes over a machine that an earlier daemon left running; where it is gone, so is its directory then.
   * @throws {PyroError} VM_UNRESPONSIVE and the like: the machine was ended
   */
  async adopt(id: string, isolation: Isolation): Promise<BootedMachine | undefined> {
    const { driver, connect } = this.options;
    const directory = join(this.options.directory, id);
    let machine: Machine | undefined;
    try {
      machine = await driver.adopt({ id, isolation, directory });
      if (machine === undefined) {
        await this.#remove(id, directory);
        return undefined;
      }
      this.#running.add(id);
      // It was being saved when its daemon died.
      if ((await machine.status()) === "paused") await machine.resume();
      const signal = AbortSignal.timeout(LIMITS.bootTimeoutMs);
      const guest = await connect(machine.agentSocket, { signal });
      // Commands that its daemon froze before it died. An agent that cannot do this says so at its first use.
      await guest.system
        .setFrozen({ frozen: false }, { timeoutMs: LIMITS.agentCallTimeoutMs })
        .catch(() => undefined);
      const record = recordSchema.safeParse(await readJsonFile(join(directory, "record.json")));
      const savedAs = record.data?.savedAs ?? "";
      const booted = this.#toBooted(machine, guest, { directory, bootMs: 0, savedAs });
      this.#booted.add(booted);
      return booted;
    } catch (error) {
      await driver.sweep(id);
      await this.#remove(id, directory);
      throw error;
    }
  }

  #toBooted(
    machine: Machine,
    guest: GuestConnection,
    facts: Pick<BootedMachine, "directory" | "bootMs" | "savedAs">,
  ): BootedMachine {
    const { directory } = facts;
    const line = new AgentLine(guest, (signal) =>
      this.options.connect(machine.agentSocket, signal === undefined ? {} : { signal }),
    );
    let closing: Promise<void> | undefined;
    const close = async (): Promise<void> => {
      this.#booted.delete(booted);
      await line[Symbol.asyncDispose]();
      await machine.kill();
      await this.#remove(machine.id, directory);
    };
    const booted: BootedMachine = {
      machine,
      ...facts,
      line,
      get guest() {
        return line.guest;
      },
      reconnect: (signal) => line.reconnect(signal),
      release: async () => {
        this.#booted.delete(booted);
        this.#running.delete(machine.id);
        await line[Symbol.asyncDispose]();
        await machine.release();
      },
      [Symbol.asyncDispose]: () => (closing ??= close()),
    };
    return booted;
  }

  /** Ends all machines; those that boot end by their callers' signals, which the caller of this has aborted. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#booted].map((booted) => booted[Symbol.asyncDispose]()));
    for (let waited = 0; this.#running.size > 0 && waited < CLOSE_MS; waited += 50) await sleep(50);
  }

  async #remove(id: string, directory: string): Promise<void> {
    this.#running.delete(id);
    await rm(directory, { recursive: true, force: true }).catch((error: unknown) => {
      this.options.log.error("machine.remove", { machine: id, error: PyroError.from(error).message });
    });
  }
}
