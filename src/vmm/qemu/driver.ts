import { chmod, chown, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { DeadlineError, launch, LaunchError, sleep, within, type Child } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type {
  Machine,
  MachineSpec,
  SavedMachine,
  StartOptions,
  VmmCapabilities,
  VmmDriver,
} from "../driver.js";
import { lastLines } from "../printable.js";
import type { RuntimeBundle } from "../runtime-bundle.js";
import { AdoptedProcess, type MachineProcess } from "./adopted-process.js";
import { QMP_SOCKET, qemuArguments } from "./argv.js";
import { qemuFingerprint } from "./fingerprint.js";
import { InheritedFiles } from "./inherited-files.js";
import { findQemu } from "./locate.js";
import { QemuMachine, removeSockets } from "./machine.js";
import { memoryOf } from "./memory-of.js";
import { loadState, MigrationFailed } from "./migration.js";
import { confined, kvmGroup, userFor } from "./privileges.js";
import { endProcess, processesNamed } from "./processes.js";
import { QmpClient, QmpClosed, type QmpEvent } from "./qmp.js";

export interface QemuDriverOptions {
  /** The verified bundle; asked for at each start, so that a repaired one is found. */
  readonly bundle: () => Promise<Pick<RuntimeBundle, "kernelPath" | "initramfsPath">>;
  /** Default: qemu-system-x86_64 of PATH. */
  readonly qemuPath?: string;
  /** Default: LIMITS.qmpTimeoutMs. */
  readonly qmpTimeoutMs?: number;
  /** The user QEMU runs as; undefined keeps ours. Default: one per machine where we are root (privileges.ts). */
  readonly userFor?: (id: string) => Promise<number | undefined>;
}

/** QEMU uses about 20; its disks, sockets and event descriptors fit. */
const OPEN_FILES = 512;
/** QEMU makes its sockets after about 40 ms. */
const CONNECT_POLL_MS = 5;
const LAST_WORDS_MS = 500;

interface Launched {
  readonly child: Child;
  /** Number of QEMU's descriptor of the state to load. */
  readonly stateDescriptor: number | undefined;
  readonly userId: number | undefined;
  /** The machine's own RAM. */
  readonly memory: FileHandle | undefined;
}

/** Machines as QEMU processes that outlive this one. Confinement: privileges.ts; the command line: argv.ts. */
export class QemuDriver implements VmmDriver {
  readonly capabilities: VmmCapabilities = { isolations: ["kvm", "software"], memorySnapshots: true };
  readonly #options: QemuDriverOptions;

  constructor(options: QemuDriverOptions) {
    this.#options = options;
  }

  async start(spec: MachineSpec, options: StartOptions = {}): Promise<Machine> {
    const { signal, restore } = options;
    signal?.throwIfAborted();
    const { child, stateDescriptor, userId, memory } = await this.#launch(spec, restore);
    const machine = new QemuMachine({ ...spec, userId, memory }, child);
    try {
      const qmp = await this.#control(machine, spec, child, signal);
      if (stateDescriptor !== undefined) {
        const beforeRun = options.beforeRun && (() => options.beforeRun?.(machine));
        await loadState(qmp, machine.migration, stateDescriptor, { signal, beforeRun }).catch(
          async (error: unknown) => {
            signal?.throwIfAborted();
            // It ends after a state that it cannot load, and says why on the way out.
            await within(child.exited, LAST_WORDS_MS, "exit").catch(() => undefined);
            throw notRestored(spec, child, error);
          },
        );
      }
      return machine;
    } catch (error) {
      await machine.kill();
      throw error;
    }
  }

  async fingerprint(spec: Parameters<VmmDriver["fingerprint"]>[0]): Promise<string> {
    return await qemuFingerprint(await findQemu(this.#options.qemuPath), spec);
  }

  async adopt(spec: Pick<MachineSpec, "id" | "isolation" | "directory">): Promise<Machine | undefined> {
    const [found] = await processesNamed(spec.id);
    if (found === undefined) return undefined;
    const process = new AdoptedProcess(found);
    const userId = await (this.#options.userFor ?? userFor)(spec.id);
    const memory = await memoryOf(found.pid);
    const machine = new QemuMachine({ ...spec, userId, memory }, process);
    await this.#control(machine, spec, process, undefined);
    return machine;
  }

  /** A session on the machine's control socket, with what it reports handed to the machine. */
  async #control(
    machine: QemuMachine,
    spec: Pick<MachineSpec, "id" | "isolation" | "directory">,
    process: MachineProcess,
    signal: AbortSignal | undefined,
  ): Promise<QmpClient> {
    const events: QmpEvent[] = [];
    let onEvent = (event: QmpEvent): void => void events.push(event);
    const qmp = await this.#connect(spec, process, (event) => onEvent(event), signal);
    machine.adopt(qmp);
    onEvent = (event) => machine.onEvent(event);
    events.forEach(onEvent);
    return qmp;
  }

  async sweep(id: string): Promise<void> {
    for (const found of await processesNamed(id)) await endProcess(found);
  }

  async #launch(spec: MachineSpec, restore: SavedMachine | undefined): Promise<Launched> {
    const { directory, id, isolation, vcpuCount, memMib } = spec;
    const [qemu, bundle, userId] = await Promise.all([
      findQemu(this.#options.qemuPath),
      this.#options.bundle(),
      (this.#options.userFor ?? userFor)(id),
    ]);
    await using files = new InheritedFiles();
    const kernelPath = await files.readable(bundle.kernelPath);
    const initramfsPath = await files.readable(bundle.initramfsPath);
    const disks = [];
    for (const disk of spec.disks) disks.push(await files.disk(disk, userId));
    const memory = await files.memory(spec, restore, userId);
    const stateDescriptor = restore === undefined ? undefined : await files.descriptor(restore.stateFile);
    await removeSockets(directory);
    if (userId !== undefined) await chown(directory, userId, userId);
    await chmod(directory, 0o700);
    const args = qemuArguments({
      ...{ id, isolation, vcpuCount, memMib, kernelPath, initramfsPath, disks },
      ...(memory === undefined ? {} : { memory }),
      incoming: restore !== undefined,
    });
    const [program, ...rest] = confined([qemu, ...args], {
      userId,
      kvmGroupId: await kvmGroup(isolation),
      openFiles: OPEN_FILES,
      fileBytes: files.fileBytesLimit,
    });
    try {
      const child = await launch(program, rest, {
        cwd: directory,
        env: { PATH: "/usr/local/bin:/usr/bin:/bin", LANG: "C.UTF-8" },
        extraDescriptors: files.descriptors,
        graceMs: 0,
        outlives: true,
      });
      return { child, stateDescriptor, userId, memory: files.takeMemory() };
    } catch (error) {
      throw error instanceof LaunchError ? toolMissing(error) : error;
    }
  }

  /** Waits for QEMU's control socket and a session on it, for the process to end, or for the deadline. */
  async #connect(
    spec: Pick<MachineSpec, "id" | "isolation" | "directory">,
    child: MachineProcess,
    onEvent: (event: QmpEvent) => void,
    signal: AbortSignal | undefined,
  ): Promise<QmpClient> {
    const timeoutMs = this.#options.qmpTimeoutMs ?? LIMITS.qmpTimeoutMs;
    const deadline = performance.now() + timeoutMs;
    const stop = new AbortController();
    const exit = child.exited.then(() => stop.abort(new QmpClosed("QEMU ended")));
    const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
    try {
      for (;;) {
        const leftMs = Math.max(1, deadline - performance.now());
        try {
          const connecting = QmpClient.connect(join(spec.directory, QMP_SOCKET), {
            onEvent,
            timeoutMs: leftMs,
            signal: either,
          });
          return await connecting;
        } catch (error) {
          if (!isNotListening(error)) throw error;
          if (performance.now() > deadline) throw new DeadlineError("QMP socket", timeoutMs);
        }
        await sleep(CONNECT_POLL_MS, either);
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof DeadlineError) throw silent(spec, child, timeoutMs);
      if (!(error instanceof QmpClosed)) throw error;
      // It closed the session, so it ends; if not, it is as bad as silent.
      await within(exit, timeoutMs, "QEMU's end", signal).catch(() => undefined);
      throw await exitedAtOnce(spec, child);
    }
  }
}

/** No socket yet, or one that nobody listens on yet. */
function isNotListening(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ECONNREFUSED";
}

async function exitedAtOnce(
  { id, isolation }: Pick<MachineSpec, "id" | "isolation">,
  child: MachineProcess,
): Promise<PyroError> {
  const exit = await within(child.exited, 1, "exit").catch(() => undefined);
  const how =
    exit === undefined
      ? "closed its control socket"
      : exit.signal === null
        ? `exited with ${exit.code ?? "?"}`
        : `was ended by ${exit.signal}`;
  const said = lastLines(child.stderrTail(), 5);
  return new PyroError(
    "VM_START_FAILED",
    `QEMU ${how} before machine ${id} started${said === "" ? "" : `: ${said}`}`,
    {
      hint: "`pyro doctor` checks QEMU, the accelerators and the runtime, and names what to mend",
      details: {
        isolation,
        exit_code: exit?.code ?? null,
        signal: exit?.signal ?? null,
        stderr_tail: lastLines(child.stderrTail(), 40),
      },
      retryable: true,
    },
  );
}

function notRestored({ id }: MachineSpec, child: Child, error: unknown): PyroError {
  const said = lastLines(child.stderrTail(), 5);
  const reason =
    error instanceof MigrationFailed || error instanceof DeadlineError
      ? error.message
      : error instanceof QmpClosed
        ? "QEMU ended"
        : PyroError.from(error).message;
  return new PyroError(
    "VM_RESTORE_FAILED",
    `machine ${id} cannot be restored: ${reason}${said === "" ? "" : `: ${said}`}`,
    {
      hint: "machines start without the template then; `pyro doctor` shows which QEMU is used",
      details: { stderr_tail: lastLines(child.stderrTail(), 40) },
      cause: error,
      retryable: true,
    },
  );
}

function silent({ id }: Pick<MachineSpec, "id">, child: MachineProcess, timeoutMs: number): PyroError {
  const said = lastLines(child.stderrTail(), 5);
  return new PyroError(
    "VMM_PROTOCOL_ERROR",
    `QEMU of machine ${id} did not answer on its control socket within ${timeoutMs} ms${said === "" ? "" : `: ${said}`}`,
    {
      hint: "is the host overloaded, or the QEMU in PATH not QEMU? `pyro doctor` checks it",
      details: { stderr_tail: lastLines(child.stderrTail(), 40) },
      retryable: true,
    },
  );
}

function toolMissing(error: LaunchError): PyroError {
  return new PyroError(
    "HOST_TOOL_NOT_FOUND",
    `cannot run ${error.program} (${error.code}), which starts QEMU confined`,
    {
      hint: "install util-linux: `sudo apt-get install -y util-linux`",
      cause: error,
    },
  );
}
