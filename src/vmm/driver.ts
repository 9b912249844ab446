/** The accelerators a machine can run with; `software` is QEMU's TCG, the same machine without hardware help. */
export type Isolation = "kvm" | "software";

/** A file that holds a disk, or a layer of one. The format is always said, never probed: a guest could forge a header. */
export interface DiskLayer {
  readonly path: string;
  readonly format: "raw" | "qcow2";
  /**
   * What a qcow2 overlay lies on. Always said here: the name in the overlay's header is never followed, and an overlay
   * without this is read as if it had nothing below it.
   */
  readonly backing?: DiskLayer;
}

/** A block device of a machine. */
export interface Disk extends DiskLayer {
  readonly readOnly: boolean;
  /**
   * What the guest flushes of it comes into the host's memory and no further: for a disk that whoever made it flushes once, when
   * it is whole.
   */
  readonly unflushed?: boolean;
}

/** A place for a disk: of a size, full of zeros, read-only, until `Machine.sealDisk` shows something there. */
export interface DiskSlot {
  readonly format: "empty";
  readonly virtualBytes: number;
}

/** Everything that makes a machine. Two machines of equal spec differ only in `id` and `directory`. */
export interface MachineSpec {
  /** Unguessable; stands in the argv of the process, so that a sweep finds it. */
  readonly id: string;
  readonly vcpuCount: number;
  readonly memMib: number;
  /** In the order of /dev/vda, /dev/vdb, … */
  readonly disks: readonly (Disk | DiskSlot)[];
  readonly isolation: Isolation;
  /**
   * RAM as a shared mapping of this file of exactly `memMib`, which may be sparse: what a machine needs that is to be
   * saved. Absent: anonymous memory. Becomes the property of the machine's user. With `StartOptions.restore` it holds a
   * copy of what was saved, and the machine goes on in it.
   */
  readonly memoryFile?: string;
  /** A directory of this machine alone; sockets, stderr and console live there. Exists, and is private. */
  readonly directory: string;
}

/** A machine's memory and device state as `Machine.save` left them. Neither may change while a machine lies on them. */
export interface SavedMachine {
  /**
   * Mapped copy-on-write: what the restored machine writes stays its own. QEMU (7.2) opens it for writing all the same,
   * as the machine's own user: a sealed memfd (guest/cmd/pyro-hold) lets it, and cannot be changed.
   */
  readonly memoryFile: string;
  readonly stateFile: string;
}

export interface StartOptions {
  readonly signal?: AbortSignal;
  /** Goes on where a machine of equal spec (its disks may hold something else) was saved. */
  readonly restore?: SavedMachine;
  /**
   * With `restore`: called when the state is loaded and the guest has not run yet; what is sent to its agent then is there
   * when it does. From then on the disks are not those that were saved with it any more. When it rejects, so does the start.
   */
  readonly beforeRun?: (machine: Machine) => Promise<void>;
}

/** How a machine's process ended. */
export interface MachineExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** What is known about a machine that misbehaves; bounded, control characters as they came. */
export interface MachineDiagnostics {
  readonly consoleTail: string;
  readonly stderrTail: string;
}

/** What a driver can do; callers ask here, never for a driver's name. */
export interface VmmCapabilities {
  readonly isolations: readonly Isolation[];
  /** `Machine.save` and `StartOptions.restore`. A host's QEMU may refuse all the same. */
  readonly memorySnapshots: boolean;
}

/**
 * One running machine. Call order: `VmmDriver.start` → connect to `agentSocket` → … → `kill`. To save it: quiesce the
 * guest → leave `agentSocket` → `pause` → `save`; a port that is connected, or drained after the pause, while the guest
 * writes makes a state whose port is dead or that does not load. Every method may be called after the machine ended
 * and then answers at once (`save` rejects).
 */
export interface Machine extends AsyncDisposable {
  readonly id: string;
  readonly pid: number;
  readonly isolation: Isolation;
  /**
   * Where the RAM of a machine with a `memoryFile` is read, by this process and those it starts. Undefined where it has
   * none, and for an adopted one whose memory this process may not reach (root without CAP_SYS_PTRACE).
   */
  readonly memoryFile: string | undefined;
  /** The unix socket of the agent's port; connect by `connectUnix`, its path may be long. */
  readonly agentSocket: string;
  /** Resolves when the process is gone, however it went. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /** "running", or why not: "paused", "io-error" (host disk full), "ended", "unresponsive" (QMP silent for 2 s). */
  status(): Promise<"running" | "paused" | "io-error" | "ended" | "unresponsive">;
  /** Stops the virtual CPUs; what is in flight to the disks is finished. */
  pause(): Promise<void>;
  /**
   * Writes the device state of a machine with a `memoryFile` to a new file, durably; pauses it where it is not. The
   * memory file is complete once the machine is gone or as long as it stays paused.
   * @throws {PyroError} VM_SAVE_FAILED, VM_UNRESPONSIVE, DISK_FULL; no state file is left then
   */
  save(stateFile: string): Promise<void>;
  /**
   * Ends a layer: from now on what the guest writes to disk `index` goes to `overlay`, an empty qcow2 in the machine's
   * directory, and what the disk held stands read-only at disk `slot`. The guest's view of the first does not change;
   * the caller has it hold its writes meanwhile, so that the sealed layer is a clean file system.
   * @throws {PyroError} VM_CRASHED when the machine is gone, VMM_PROTOCOL_ERROR when QEMU refuses
   */
  sealDisk(index: number, slot: number, overlay: string): Promise<void>;
  /**
   * The same without a slot, also while the machine is paused: what the disk held stays open below, and is only read.
   * `name`, of at most 26 characters and never used in this machine before, is what `topLayer` gives from then on.
   * @throws {PyroError} as `sealDisk`; whether the layer was put is for `topLayer` to say
   */
  putLayer(index: number, overlay: string, name: string): Promise<void>;
  /**
   * The name of the layer that disk `index` writes to, whoever put it; of one that no layer was put on, a name of the
   * driver's own.
   * @throws {PyroError} VM_CRASHED when the machine is gone, VMM_PROTOCOL_ERROR
   */
  topLayer(index: number): Promise<string>;
  /** Continues a machine that was paused or stopped for a full host disk. */
  resume(): Promise<void>;
  diagnostics(): Promise<MachineDiagnostics>;
  /** Lets go of a machine that runs on, for another process to adopt. Only `exited` may be used afterwards. */
  release(): Promise<void>;
  /** Ends the process (KILL: the guest's disks are disposable or flushed before) and waits until it is reaped. */
  kill(): Promise<MachineExit>;
}

/** Starts machines. Implementations: QEMU, and a fake for faults; both pass test/contract/vmm-driver.ts. */
export interface VmmDriver {
  readonly capabilities: VmmCapabilities;
  /**
   * Starts a machine; resolves once its process answers QMP and executes the guest. When it rejects or is aborted,
   * nothing of the machine is left.
   * @throws {PyroError} QEMU_NOT_FOUND, VM_START_FAILED (exited at once; with stderr tail), VMM_PROTOCOL_ERROR
   *   (garbage, or silent for LIMITS.qmpTimeoutMs), VM_RESTORE_FAILED (the saved machine does not load)
   */
  start(spec: MachineSpec, options?: StartOptions): Promise<Machine>;
  /**
   * Names what a saved machine's memory and state rest on, besides what is booted: the VMM's build, the machine it
   * makes of a spec, the host's processor where the guest sees it. What was saved under another name must not be restored.
   */
  fingerprint(
    spec: Pick<MachineSpec, "vcpuCount" | "memMib" | "isolation"> & { readonly diskCount: number },
  ): Promise<string>;
  /**
   * Takes over a machine that another process started and left running; undefined where it does not run any more. What
   * it wrote to stderr is not known then.
   * @throws {PyroError} VMM_PROTOCOL_ERROR when its control socket is silent
   */
  adopt(machine: Pick<MachineSpec, "id" | "isolation" | "directory">): Promise<Machine | undefined>;
  /**
   * Ends whatever process still runs for the machine of this id, started by whichever daemon, and waits until it is
   * gone. Finds it without any record: by the id in its argv.
   */
  sweep(id: string): Promise<void>;
}
