/** The accelerators a machine can run with; `software` is QEMU's TCG, the same machine without hardware help. */
export type Isolation = "kvm" | "software";

/** A block device of a machine. The format is always said, never probed: a guest could forge a header. */
export interface Disk {
  readonly path: string;
  readonly format: "raw" | "qcow2";
  readonly readOnly: boolean;
  /**
   * What a qcow2 overlay lies on, one layer. Always said here: the name in the overlay's header is never followed,
   * and an overlay without this is read as if it had nothing below it.
   */
  readonly backing?: { readonly path: string; readonly format: "raw" | "qcow2" };
}

/** Everything that makes a machine. Two machines of equal spec differ only in `id` and `directory`. */
export interface MachineSpec {
  /** Unguessable; stands in the argv of the process, so that a sweep finds it. */
  readonly id: string;
  readonly vcpuCount: number;
  readonly memMib: number;
  /** In the order of /dev/vda, /dev/vdb, … */
  readonly disks: readonly Disk[];
  readonly isolation: Isolation;
  /** A directory of this machine alone; sockets, stderr and console live there. Exists, and is private. */
  readonly directory: string;
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
  /** Memory templates and forks (issue 3 on). */
  readonly memorySnapshots: boolean;
}

/**
 * One running machine. Call order: `VmmDriver.start` → connect to `agentSocket` → … → `kill`. Every method may be
 * called after the machine ended and then answers at once.
 */
export interface Machine extends AsyncDisposable {
  readonly id: string;
  readonly pid: number;
  readonly isolation: Isolation;
  /** The unix socket of the agent's port; connect by `connectUnix`, its path may be long. */
  readonly agentSocket: string;
  /** Resolves when the process is gone, however it went. Never rejects. */
  readonly exited: Promise<MachineExit>;
  /** "running", or why not: "paused", "io-error" (host disk full), "ended", "unresponsive" (QMP silent for 2 s). */
  status(): Promise<"running" | "paused" | "io-error" | "ended" | "unresponsive">;
  /** Continues a machine that was paused or stopped for a full host disk. */
  resume(): Promise<void>;
  diagnostics(): Promise<MachineDiagnostics>;
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
   *   (garbage, or silent for LIMITS.qmpTimeoutMs)
   */
  start(spec: MachineSpec, options?: { readonly signal?: AbortSignal }): Promise<Machine>;
  /**
   * Ends whatever process still runs for the machine of this id, started by whichever daemon, and waits until it is
   * gone. Finds it without any record: by the id in its argv.
   */
  sweep(id: string): Promise<void>;
}
