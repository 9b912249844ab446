import type { Disk, DiskLayer, DiskSlot, Isolation } from "../driver.js";

/**
 * The command line of QEMU, from small pure parts. Every file stands as the child's own path (a descriptor it
 * inherits, or a name relative to its working directory, which is the machine's directory), so that neither the
 * length of a path nor the mode of a parent directory matters.
 */

/** Names of the sockets inside the machine's directory. */
export const QMP_SOCKET = "qmp.sock";
export const AGENT_SOCKET = "agent.sock";

/** The name under which the agent finds its port in the guest (proto/LINK.md). */
const AGENT_PORT = "dev.pyro.agent";

/** Id of the agent's port in QMP. */
export const AGENT_CHARDEV = "agent";

/** Id of the console's ring buffer in QMP, and its size: a power of two, as QEMU demands. */
export const CONSOLE_CHARDEV = "console";
export const CONSOLE_RING_BYTES = 16 * 1024;

export interface QemuArguments {
  /** The machine's id; `-name` carries it for the sweep. */
  readonly id: string;
  readonly isolation: Isolation;
  readonly vcpuCount: number;
  readonly memMib: number;
  readonly kernelPath: string;
  readonly initramfsPath: string;
  /** RAM in a file; absent: anonymous memory. */
  readonly memory?: MemoryFile;
  /** Waits for `migrate-incoming` instead of starting the guest. */
  readonly incoming?: boolean;
  /** Paths as QEMU opens them. */
  readonly disks: readonly (Disk | DiskSlot)[];
}

export interface MemoryFile {
  readonly path: string;
  /** Whether the file is the RAM, or what the RAM's private copy begins with. */
  readonly shared: boolean;
}

export function qemuArguments(machine: QemuArguments): string[] {
  return [
    ...baseArguments(machine.id),
    ...sandboxArguments(),
    ...machineArguments(machine),
    ...kernelArguments(machine),
    ...qmpArguments(),
    ...consoleArguments(),
    ...agentArguments(),
    ...entropyArguments(),
    ...machine.disks.flatMap(diskArguments),
    ...(machine.incoming === true ? ["-incoming", "defer"] : []),
  ];
}

/**
 * No default device, no configuration file, no display. A guest that resets or powers off stays stopped, so that its
 * console can still be read; the driver ends it then.
 */
export function baseArguments(id: string): string[] {
  return [
    ...["-name", id, "-nodefaults", "-no-user-config", "-no-reboot", "-no-shutdown"],
    ...["-display", "none", "-vga", "none", "-nic", "none"],
  ];
}

/** seccomp: a deny-list, useful but no jail; the jail is the user QEMU runs as. `spawn=deny` rules out `exec:` URIs. */
export function sandboxArguments(): string[] {
  return ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];
}

/**
 * Without ERMS and FSRM: the guest's kernel would copy by `rep movsb`, which TCG runs byte by byte. Measured: 3 times
 * the throughput of the agent's port, and boots 0.2 s shorter.
 */
const EMULATED_CPU = "max,-vmx,-svm,-erms,-fsrm";

/**
 * The same q35 machine for both accelerators, so that what is tested under emulation is what runs under KVM; without
 * the disk, bus and mouse controllers it would bring along. RAM is an object of its own: a file for templates, and
 * all else alike, so that a machine can be saved and restored between the two.
 */
export function machineArguments(
  machine: Pick<QemuArguments, "isolation" | "vcpuCount" | "memMib" | "memory">,
): string[] {
  const { isolation, vcpuCount, memMib, memory } = machine;
  return [
    ...["-machine", "q35,memory-backend=ram,sata=off,smbus=off,usb=off,vmport=off,dump-guest-core=off"],
    ...["-accel", isolation === "kvm" ? "kvm" : "tcg,thread=multi"],
    // Without nested virtualisation: it only adds host kernel code that a guest can reach.
    ...["-cpu", isolation === "kvm" ? "host,-vmx,-svm" : EMULATED_CPU],
    ...["-smp", String(vcpuCount)],
    ...["-m", `${memMib}M`],
    ...["-object", `${memoryBackend(memory)},id=ram,size=${memMib}M,merge=off,dump=off`],
  ];
}

function memoryBackend(memory: MemoryFile | undefined): string {
  if (memory === undefined) return "memory-backend-ram";
  return `memory-backend-file,mem-path=${memory.path},share=${memory.shared ? "on" : "off"}`;
}

/**
 * `panic=-1`: a panic resets, which stops the machine. `cryptomgr.notests` saves 0.35 s of a boot under emulation
 * (measured). `no_timer_check`: the check fails on a busy host and ends in a panic. `tsc=reliable` under emulation: the
 * watchdog mistakes a descheduled vCPU for a broken clock and falls back to a slow one.
 */
function kernelCommandLine(isolation: Isolation, canBeSaved: boolean): string {
  const go = [...(isolation === "software" ? [GO_QUIET] : []), ...(canBeSaved ? [GO_CLEARS] : [])];
  return [
    "console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check",
    ...(isolation === "software" ? ["tsc=reliable", LESS_CODE] : []),
    ...(canBeSaved ? [KERNEL_CLEARS] : []),
    ...(go.length === 0 ? [] : [`GODEBUG=${go.join(",")}`]),
  ].join(" ");
}

/**
 * Emulation pays for code at its first run, when it is translated, and when it is changed. `noreplace-smp`: a kernel of
 * one processor takes each lock prefix away, which costs a boot 0.12 s and gains nothing here. `norandmaps`: a translation stands for one address,
 * so that each process had all of its code translated anew (fork and exec of `true` 30 → 9 ms, measured). `lsm`: hooks
 * without a policy. The guest's users are root in it, and its wall is the machine's: neither randomness nor hooks were one.
 */
const LESS_CODE = "noreplace-smp norandmaps lsm=landlock,yama";
/** Of GODEBUG, which the agent inherits: no signal to itself whenever something takes 10 ms, as all does at first. */
const GO_QUIET = "asyncpreemptoff=1";

/**
 * In a machine whose memory may be written to a file, what was freed is cleared: by the kernel at once, in place of
 * clearing what it allocates; by the agent when it collects (`Scrub`). The kernel clears all of its memory as it boots,
 * which takes all of it from the host: so only what becomes a template does, and what goes on from one.
 */
const KERNEL_CLEARS = "init_on_alloc=0 init_on_free=1";
const GO_CLEARS = "clobberfree=1";

export function kernelArguments(
  machine: Pick<QemuArguments, "isolation" | "kernelPath" | "initramfsPath" | "memory">,
): string[] {
  const { isolation, kernelPath, initramfsPath, memory } = machine;
  const commandLine = kernelCommandLine(isolation, memory !== undefined);
  return ["-kernel", kernelPath, "-initrd", initramfsPath, "-append", commandLine];
}

/** QMP means the privileges of QEMU's user: its socket lies in the machine's private directory. */
export function qmpArguments(): string[] {
  return [
    "-chardev",
    `socket,id=qmp,path=${QMP_SOCKET},server=on,wait=off`,
    "-mon",
    "chardev=qmp,mode=control",
  ];
}

/** The serial console goes into memory of fixed size: a guest that floods it overwrites itself. */
export function consoleArguments(): string[] {
  return [
    ...["-chardev", `ringbuf,id=${CONSOLE_CHARDEV},size=${CONSOLE_RING_BYTES}`],
    ...["-serial", `chardev:${CONSOLE_CHARDEV}`],
  ];
}

/** One virtio-serial port: the only way in and out besides the disks. */
export function agentArguments(): string[] {
  return [
    ...["-chardev", `socket,id=${AGENT_CHARDEV},path=${AGENT_SOCKET},server=on,wait=off`],
    ...["-device", "virtio-serial-pci,id=serial,disable-legacy=on,max_ports=2"],
    ...["-device", `virtserialport,bus=serial.0,nr=1,chardev=${AGENT_CHARDEV},name=${AGENT_PORT}`],
  ];
}

/** Host entropy, at most 64 KiB a second. */
export function entropyArguments(): string[] {
  return [
    ...["-object", "rng-builtin,id=entropy"],
    ...["-device", "virtio-rng-pci,rng=entropy,disable-legacy=on,max-bytes=65536,period=1000"],
  ];
}

/**
 * One disk. Drivers are explicit on every layer, so nothing is probed; what lies below an overlay is what the caller
 * says, never what the header says. `disable-legacy` also rules out SCSI passthrough, which only old devices have.
 * A full host disk stops the machine ("io-error") instead of failing the guest's write.
 */
export function diskArguments(disk: Disk | DiskSlot, index: number): string[] {
  const node = diskNode(index);
  const nodes =
    disk.format === "empty"
      ? [
          {
            driver: "null-co",
            "node-name": node,
            size: disk.virtualBytes,
            "read-zeroes": true,
            "read-only": true,
          },
        ]
      : layerNodes(node, disk, disk.readOnly).map((layer) =>
          disk.unflushed === true ? { ...layer, cache: { "no-flush": true } } : layer,
        );
  return [
    ...nodes.flatMap((options) => ["-blockdev", JSON.stringify(options)]),
    ...[
      "-device",
      `virtio-blk-pci,id=${diskDevice(index)},drive=${node},disable-legacy=on,werror=enospc,rerror=report`,
    ],
  ];
}

/** The block node that a disk begins with. */
function diskNode(index: number): string {
  return `disk${index}`;
}

/** Id of a disk's device in QMP. */
export function diskDevice(index: number): string {
  return `blk${index}`;
}

/**
 * A layer and all below it, the lowest first, as `blockdev-add` takes them; only the top one is ever written. Names of
 * nodes have 31 characters at most: those below count how deep they lie.
 */
export function layerNodes(name: string, layer: DiskLayer, frozen: boolean, depth = 0): BlockNode[] {
  const { path, format, backing } = layer;
  const node = depth === 0 ? name : `${name}-${depth}`;
  const below = `${name}-${depth + 1}`;
  const space = frozen ? {} : { discard: "unmap" };
  return [
    ...(backing === undefined ? [] : layerNodes(name, backing, true, depth + 1)),
    {
      driver: "file",
      "node-name": `${node}-file`,
      filename: path,
      "read-only": frozen,
      "auto-read-only": false,
      ...space,
    },
    {
      driver: format,
      "node-name": node,
      file: `${node}-file`,
      "read-only": frozen,
      ...(frozen ? {} : { ...space, "detect-zeroes": "unmap" }),
      ...(format === "qcow2" ? { backing: backing === undefined ? null : below } : {}),
    },
  ];
}

/** Arguments of `blockdev-add`. */
export type BlockNode = Readonly<Record<string, unknown>>;
