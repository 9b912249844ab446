import { chmod, open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { toolError, type HostPrograms } from "./host-tools.js";
import { IMAGE_VIRTUAL_BYTES } from "./layout.js";

/**
 * Features of the file system, listed in full: the defaults of the host's mke2fs may be newer than the guest's kernel.
 */
const FEATURES = [
  "none",
  "has_journal",
  "ext_attr",
  "resize_inode",
  "dir_index",
  "filetype",
  "extent",
  "64bit",
  "flex_bg",
  "metadata_csum",
  "sparse_super",
  "large_file",
  "huge_file",
  "dir_nlink",
  "extra_isize",
];

/** The argv of mke2fs for an environment's file system, without its name. */
export function mke2fsArguments(target: string): string[] {
  return [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-O",
    FEATURES.join(","),
    "-b",
    "4096",
    "-I",
    "256",
    "-i",
    "16384",
    // What root's own tools need when a guest fills its disk; 1 % of 16 GiB.
    "-m",
    "1",
    "-J",
    "size=64",
    // A sparse file reads as zeros: the inode tables count as written, so no guest ever writes them out again.
    "-E",
    "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0,discard",
    "-L",
    "pyro-root",
    target,
  ];
}

/**
 * Makes a qcow2 with an empty ext4 file system; one that stands there is replaced. Whoever fills it makes what becomes the
 * image (seal.ts).
 * @throws {PyroError} HOST_TOOL_NOT_FOUND, ENVIRONMENT_BUILD_FAILED, DISK_FULL
 */
export async function makeFileSystem(host: HostPrograms, target: string, signal: AbortSignal): Promise<void> {
  // mke2fs knows no qcow2.
  const raw = `${target}.raw`;
  await Promise.all([raw, target].map((path) => rm(path, { force: true })));
  await using file = await open(raw, "wx", 0o600);
  await file.truncate(IMAGE_VIRTUAL_BYTES);
  const exit = await host.run("mke2fs", mke2fsArguments(raw), { signal });
  if (exit.code !== 0) throw await toolError("mke2fs", exit, dirname(target));
  await convertImage(host, { path: raw, format: "raw" }, target, signal);
  await chmod(target, 0o600);
  await rm(raw);
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
