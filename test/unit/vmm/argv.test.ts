import { describe, expect, it } from "vitest";
import {
  agentArguments,
  baseArguments,
  consoleArguments,
  diskArguments,
  entropyArguments,
  kernelArguments,
  machineArguments,
  qemuArguments,
  qmpArguments,
  sandboxArguments,
} from "../../../src/vmm/qemu/argv.js";

const machine = {
  id: "vm-1",
  isolation: "software",
  vcpuCount: 2,
  memMib: 512,
  kernelPath: "/proc/self/fd/3",
  initramfsPath: "/proc/self/fd/4",
  disks: [{ path: "/proc/self/fd/5", format: "raw", readOnly: true }],
} as const;

describe("QEMU's command line", () => {
  it("has no default device and stays stopped when the guest ends", () => {
    expect(baseArguments("vm-1").join(" ")).toMatchInlineSnapshot(
      `"-name vm-1 -nodefaults -no-user-config -no-reboot -no-shutdown -display none -vga none -nic none"`,
    );
  });

  it("switches seccomp on", () => {
    expect(sandboxArguments().join(" ")).toMatchInlineSnapshot(
      `"-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"`,
    );
  });

  it("has the same machine for both accelerators", () => {
    expect(machineArguments(machine).join(" ")).toMatchInlineSnapshot(
      `"-machine q35,memory-backend=ram,sata=off,smbus=off,usb=off,vmport=off,dump-guest-core=off -accel tcg,thread=multi -cpu max,-vmx,-svm,-erms,-fsrm -smp 2 -m 512M -object memory-backend-ram,id=ram,size=512M,merge=off,dump=off"`,
    );
    expect(machineArguments({ ...machine, isolation: "kvm" }).join(" ")).toMatchInlineSnapshot(
      `"-machine q35,memory-backend=ram,sata=off,smbus=off,usb=off,vmport=off,dump-guest-core=off -accel kvm -cpu host,-vmx,-svm -smp 2 -m 512M -object memory-backend-ram,id=ram,size=512M,merge=off,dump=off"`,
    );
  });

  it("takes RAM from a file that is shared to save it, and private to restore it", () => {
    const ram = (shared: boolean): string =>
      machineArguments({ ...machine, memory: { path: "/proc/self/fd/6", shared } }).at(-1) ?? "";
    expect(ram(true)).toMatchInlineSnapshot(
      `"memory-backend-file,mem-path=/proc/self/fd/6,share=on,id=ram,size=512M,merge=off,dump=off"`,
    );
    expect(ram(false)).toMatchInlineSnapshot(
      `"memory-backend-file,mem-path=/proc/self/fd/6,share=off,id=ram,size=512M,merge=off,dump=off"`,
    );
    expect(qemuArguments({ ...machine, incoming: true }).slice(-2)).toEqual(["-incoming", "defer"]);
  });

  it("boots the kernel directly", () => {
    expect(kernelArguments(machine).join(" ")).toMatchInlineSnapshot(
      `"-kernel /proc/self/fd/3 -initrd /proc/self/fd/4 -append console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check tsc=reliable noreplace-smp norandmaps lsm=landlock,yama GODEBUG=asyncpreemptoff=1"`,
    );
    expect(kernelArguments({ ...machine, isolation: "kvm" }).join(" ")).toMatchInlineSnapshot(
      `"-kernel /proc/self/fd/3 -initrd /proc/self/fd/4 -append console=ttyS0 quiet panic=-1 cryptomgr.notests no_timer_check"`,
    );
  });

  it("clears what is freed in a machine that may be saved", () => {
    const memory = { path: "/proc/self/fd/5", shared: true };
    expect(kernelArguments({ ...machine, memory }).at(-1)).toMatch(
      / init_on_alloc=0 init_on_free=1 GODEBUG=asyncpreemptoff=1,clobberfree=1$/,
    );
    expect(kernelArguments({ ...machine, memory, isolation: "kvm" }).at(-1)).toMatch(
      /_check init_on_alloc=0 init_on_free=1 GODEBUG=clobberfree=1$/,
    );
  });

  it("makes its sockets in the working directory", () => {
    expect(qmpArguments().join(" ")).toMatchInlineSnapshot(
      `"-chardev socket,id=qmp,path=qmp.sock,server=on,wait=off -mon chardev=qmp,mode=control"`,
    );
    expect(agentArguments().join(" ")).toMatchInlineSnapshot(
      `"-chardev socket,id=agent,path=agent.sock,server=on,wait=off -device virtio-serial-pci,id=serial,disable-legacy=on,max_ports=2 -device virtserialport,bus=serial.0,nr=1,chardev=agent,name=dev.pyro.agent"`,
    );
  });

  it("keeps the console in memory of fixed size", () => {
    expect(consoleArguments().join(" ")).toMatchInlineSnapshot(
      `"-chardev ringbuf,id=console,size=16384 -serial chardev:console"`,
    );
  });

  it("gives the guest entropy, so much a second", () => {
    expect(entropyArguments().join(" ")).toMatchInlineSnapshot(
      `"-object rng-builtin,id=entropy -device virtio-rng-pci,rng=entropy,disable-legacy=on,max-bytes=65536,period=1000"`,
    );
  });

  it("names the driver of every layer of a disk", () => {
    expect(diskArguments({ path: "/a,b", format: "raw", readOnly: true }, 0)).toMatchInlineSnapshot(`
      [
        "-blockdev",
        "{"driver":"file","node-name":"disk0-file","filename":"/a,b","read-only":true,"auto-read-only":false}",
        "-blockdev",
        "{"driver":"raw","node-name":"disk0","file":"disk0-file","read-only":true}",
        "-device",
        "virtio-blk-pci,id=blk0,drive=disk0,disable-legacy=on,werror=enospc,rerror=report",
      ]
    `);
    expect(
      diskArguments(
        { path: "/o", format: "qcow2", readOnly: false, backing: { path: "/b", format: "raw" } },
        1,
      ),
    ).toMatchInlineSnapshot(`
      [
        "-blockdev",
        "{"driver":"file","node-name":"disk1-1-file","filename":"/b","read-only":true,"auto-read-only":false}",
        "-blockdev",
        "{"driver":"raw","node-name":"disk1-1","file":"disk1-1-file","read-only":true}",
        "-blockdev",
        "{"driver":"file","node-name":"disk1-file","filename":"/o","read-only":false,"auto-read-only":false,"discard":"unmap"}",
        "-blockdev",
        "{"driver":"qcow2","node-name":"disk1","file":"disk1-file","read-only":false,"discard":"unmap","detect-zeroes":"unmap","backing":"disk1-1"}",
        "-device",
        "virtio-blk-pci,id=blk1,drive=disk1,disable-legacy=on,werror=enospc,rerror=report",
      ]
    `);
  });

  it("keeps a disk's flushes in the host's memory where that is said, and nowhere else", () => {
    const disk = { path: "/o", format: "qcow2", readOnly: false } as const;
    const flags = (unflushed: boolean): number =>
      diskArguments({ ...disk, unflushed }, 0).filter((word) => word.includes('"cache":{"no-flush":true}'))
        .length;
    expect([flags(true), flags(false)]).toEqual([2, 0]);
  });

  it("follows no name in the header of an overlay", () => {
    expect(diskArguments({ path: "/o", format: "qcow2", readOnly: false }, 0).join(" ")).toContain(
      '"backing":null',
    );
  });

  it("is all of its parts", () => {
    const all = qemuArguments(machine);
    expect(all).toEqual(
      expect.arrayContaining([...baseArguments("vm-1"), ...sandboxArguments(), ...consoleArguments()]),
    );
    expect(all.filter((argument) => argument === "-blockdev")).toHaveLength(2);
  });
});
