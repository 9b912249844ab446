import { createHash } from "node:crypto";
import { readFile, realpath, stat } from "node:fs/promises";
import type { MachineSpec } from "../driver.js";
import { qemuArguments } from "./argv.js";

/**
 * Names a build of QEMU and the machine it makes: its program by path, inode, size and times (a package that replaces
 * it changes them; no version string tells two builds apart for sure), and the whole command line with places for the
 * files. With KVM the guest has the host's processor.
 */
export async function qemuFingerprint(
  program: string,
  {
    vcpuCount,
    memMib,
    isolation,
    diskCount,
  }: Pick<MachineSpec, "vcpuCount" | "memMib" | "isolation"> & { readonly diskCount: number },
): Promise<string> {
  const path = await realpath(program);
  const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  const disk = { path: "disk", format: "raw", readOnly: false } as const;
  const argv = qemuArguments({
    ...{ id: "id", isolation, vcpuCount, memMib, kernelPath: "kernel", initramfsPath: "initramfs" },
    disks: Array.from({ length: diskCount }, () => disk),
    memory: { path: "memory", shared: false },
    incoming: true,
  });
  const build = [path, dev, ino, size, mtimeNs, ctimeNs].map(String);
  const processor = isolation === "kvm" ? await hostProcessor() : "";
  return createHash("sha256")
    .update(JSON.stringify([build, argv, processor]))
    .digest("hex");
}

/** Model and features of the first processor. */
async function hostProcessor(): Promise<string> {
  const text = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  const wanted = /^(vendor_id|cpu family|model|model name|stepping|microcode|flags)\s*:/;
  const first = text.split("\n\n")[0] ?? "";
  return first
    .split("\n")
    .filter((line) => wanted.test(line))
    .join("\n");
}
