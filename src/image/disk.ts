import { constants } from "node:fs";
import { chmod, copyFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { toolError, type HostPrograms } from "./host-tools.js";

/**
 * Copies the disk that environments begin as: a qcow2 with an empty ext4 file system. What stands there is replaced.
 * @throws the system's error
 */
export async function copyEmptyDisk(from: string, target: string): Promise<void> {
  await rm(target, { force: true });
  await copyFile(from, target, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
  // As the runtime bundle has it, nobody may write to it.
  await chmod(target, 0o600);
}

/**
 * Turns a disk, with all that lies below it, into one qcow2 of the same content. Both formats are said, never probed: the
 * content is a guest's.
 * @throws {PyroError} HOST_TOOL_NOT_FOUND, ENVIRONMENT_BUILD_FAILED, DISK_FULL
 */
export async function convertImage(
  host: HostPrograms,
  from: { readonly path: string; readonly format: "raw" | "qcow2" },
  target: string,
  signal: AbortSignal,
  onShare?: (share: number) => void,
): Promise<void> {
  const args = [
    "convert",
    "-p",
    "-f",
    from.format,
    "-O",
    "qcow2",
    "-o",
    "compat=1.1,lazy_refcounts=off",
    from.path,
    target,
  ];
  const consume = async (stream: AsyncIterable<Buffer>): Promise<void> => {
    for await (const chunk of stream) {
      // qemu-img rewrites one line: "    (12.34/100%)\r".
      const last = [...chunk.toString("latin1").matchAll(/\(([0-9.]+)\/100%\)/g)].at(-1)?.[1];
      if (last !== undefined) onShare?.(Number(last) / 100);
    }
  };
  const exit = await host.run("qemu-img", args, { signal, consume });
  if (exit.code !== 0) throw await toolError("qemu-img convert", exit, dirname(target));
}
