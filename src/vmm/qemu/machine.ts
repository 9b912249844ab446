import { rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { DeadlineError, sleep, within } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { Isolation, Machine, MachineDiagnostics, MachineExit } from "../driver.js";
import type { MachineProcess } from "./adopted-process.js";
import { AGENT_CHARDEV, AGENT_SOCKET, QMP_SOCKET } from "./argv.js";
import { ConsoleTail } from "./console.js";
import { MigrationEnd, SAVE_SOCKET, saveState } from "./migration.js";
import { QmpClosed, type QmpClient, type QmpEvent } from "./qmp.js";
import { putLayer, sealDisk, topLayer } from "./seal.js";

/** A healthy QEMU answers in a millisecond; one that takes longer than this is stopped or hangs. */
const ANSWER_MS = 2_000;
const PORT_POLL_MS = 5;

/** Run states (qapi/run-state.json) in which the guest will never run again. */
const ENDED_STATES: ReadonlySet<string> = new Set(["shutdown", "guest-panicked", "internal-error"]);

export interface QemuMachineSpec {
  readonly id: string;
  readonly isolation: Isolation;
  readonly directory: string;
  /** Who its process runs as; undefined: as we do. */
  readonly userId: number | undefined;
  /** Its own RAM; the machine closes it. */
  readonly memory: FileHandle | undefined;
}

/** A QEMU process and its QMP session. */
export class QemuMachine implements Machine {
  readonly id: string;
  readonly isolation: Isolation;
  readonly pid: number;
  readonly agentSocket: string;
  readonly exited: Promise<MachineExit>;
  /** Of the state that it was started from, or that is saved. */
  migration = new MigrationEnd();
  readonly #directory: string;
  readonly #process: MachineProcess;
  readonly #userId: number | undefined;
  readonly #console = new ConsoleTail();
  #memory: FileHandle | undefined;
  #qmp: QmpClient | undefined;
  #ended = false;

  constructor(spec: QemuMachineSpec, process: MachineProcess) {
    this.#directory = spec.directory;
    this.id = spec.id;
    this.isolation = spec.isolation;
    this.#userId = spec.userId;
    this.#memory = spec.memory;
    this.pid = process.pid;
    this.agentSocket = join(spec.directory, AGENT_SOCKET);
    this.#process = process;
    this.exited = process.exited.then(async ({ code, signal }) => {
      this.#ended = true;
      await this.#qmp?.[Symbol.asyncDispose]();
      await this.#closeMemory();
      await removeSockets(spec.directory);
      return { code, signal };
    });
  }

  get memoryFile(): string | undefined {
    return this.#memory === undefined ? undefined : `/proc/${process.pid}/fd/${this.#memory.fd}`;
  }

  /** Hands over the session; the driver calls this once, before anybody sees the machine. */
  adopt(qmp: QmpClient): void {
    this.#qmp = qmp;
  }

  /** A guest that powered off, reset or panicked: its console is kept, then QEMU ends. */
  onEvent(event: QmpEvent): void {
    this.migration.onEvent(event);
    if (event.name === "SHUTDOWN" || event.name === "GUEST_PANICKED") void this.#finish();
  }

  async status(): Promise<"running" | "paused" | "io-error" | "ended" | "unresponsive"> {
    if (this.#ended || this.#qmp === undefined) return "ended";
    try {
      const { status } = (await this.#qmp.execute("query-status", {}, ANSWER_MS)) as { status: string };
      if (status === "running" || status === "io-error") return status;
      return ENDED_STATES.has(status) ? "ended" : "paused";
    } catch (error) {
      return error instanceof DeadlineError ? "unresponsive" : await this.#silent();
    }
  }

  async pause(): Promise<void> {
    if (this.#ended) return;
    await this.#qmp?.execute("stop", {}, LIMITS.saveTimeoutMs).catch(unlessEnding);
  }

  async save(stateFile: string): Promise<void> {
    if (this.#ended || this.#qmp === undefined) throw endedUnsaved(this.id);
    try {
      await requirePortLeft(this.#qmp, this.id);
      await this.pause();
      this.migration = new MigrationEnd();
      await saveState(this.#qmp, this.migration, this.#directory, stateFile);
    } catch (error) {
      throw error instanceof QmpClosed ? endedUnsaved(this.id, error) : error;
    }
  }

  async sealDisk(index: number, slot: number, overlay: string): Promise<void> {
    await this.#onDisk((qmp) => sealDisk(qmp, { index, slot, overlay, userId: this.#userId }));
  }

  async putLayer(index: number, overlay: string, name: string): Promise<void> {
    await this.#onDisk((qmp) => putLayer(qmp, { index, overlay, name, userId: this.#userId }));
  }

  async topLayer(index: number): Promise<string> {
    return await this.#onDisk((qmp) => topLayer(qmp, index));
  }

  async #onDisk<T>(work: (qmp: QmpClient) => Promise<T>): Promise<T> {
    try {
      if (this.#ended || this.#qmp === undefined) throw new QmpClosed("QEMU ended");
      return await work(this.#qmp);
    } catch (error) {
      const gone = error instanceof QmpClosed;
      throw new PyroError(
        gone ? "VM_CRASHED" : "VMM_PROTOCOL_ERROR",
        `the disk of machine ${this.id} cannot be sealed: ${(error as Error).message}`,
        { hint: "try again; `pyro doctor` examines this host", cause: error, retryable: true },
      );
    }
  }

  async resume(): Promise<void> {
    if (this.#ended) return;
    await this.#qmp?.execute("cont", {}, ANSWER_MS).catch(unlessEnding);
  }

  async diagnostics(): Promise<MachineDiagnostics> {
    if (!this.#ended && this.#qmp !== undefined) await this.#console.drain(this.#qmp, ANSWER_MS);
    return { consoleTail: this.#console.text, stderrTail: this.#process.stderrTail() };
  }

  async release(): Promise<void> {
    await this.#closeMemory();
    await this.#qmp?.[Symbol.asyncDispose]();
  }

  async kill(): Promise<MachineExit> {
    await this.#process.close();
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  async #closeMemory(): Promise<void> {
    const memory = this.#memory;
    this.#memory = undefined;
    await memory?.close();
  }

  async #finish(): Promise<void> {
    if (this.#qmp === undefined) return;
    await this.#console.drain(this.#qmp, ANSWER_MS);
    // "quit" leaves exit code 0, as a guest that powers off deserves.
    await this.#qmp.execute("quit", {}, ANSWER_MS).catch(() => undefined);
    await within(this.exited, ANSWER_MS, "QEMU's end").catch(() => this.kill());
  }

  /** The session is gone: usually the process too, in a moment. */
  async #silent(): Promise<"ended" | "unresponsive"> {
    return within(this.exited, ANSWER_MS, "QEMU's end").then(
      () => "ended",
      () => "unresponsive",
    );
  }
}

/** What ends under a call is as what ended before it. */
function unlessEnding(error: unknown): void {
  if (!(error instanceof QmpClosed)) throw error;
}

function endedUnsaved(id: string, cause?: unknown): PyroError {
  return new PyroError("VM_SAVE_FAILED", `machine ${id} has ended and cannot be saved`, {
    hint: "start another",
    cause,
  });
}

/**
 * Waits until QEMU has seen that nobody is at the agent's port: what happens to it after the stop would be written into
 * memory that is saved already.
 */
async function requirePortLeft(qmp: QmpClient, id: string): Promise<void> {
  for (let waitedMs = 0; waitedMs <= ANSWER_MS; waitedMs += PORT_POLL_MS) {
    const list = (await qmp.execute("query-chardev", {}, ANSWER_MS)) as {
      label?: string;
      filename?: string;
    }[];
    const port = list.find(({ label }) => label === AGENT_CHARDEV);
    if (port?.filename?.startsWith("disconnected:") === true) return;
    await sleep(PORT_POLL_MS);
  }
  throw new PyroError("VM_SAVE_FAILED", `machine ${id} is not saved: somebody is connected to its agent`, {
    hint: "leave the agent's port first; a state saved in between has a dead port",
  });
}

/** Removes the sockets that QEMU leaves behind. */
export async function removeSockets(directory: string): Promise<void> {
  await Promise.all(
    [QMP_SOCKET, AGENT_SOCKET, SAVE_SOCKET].map((name) =>
      rm(join(directory, name), { force: true }).catch(() => undefined),
    ),
  );
}
