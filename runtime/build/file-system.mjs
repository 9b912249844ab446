import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BuildError, run } from "./progress.mjs";

/** Of every environment's disk (IMAGE_VIRTUAL_BYTES in src/image/layout.ts). */
const DISK_BYTES = 16 * 1024 ** 3;
/** Listed in full: what this machine's mke2fs does unasked may be newer than the guest's kernel. */
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
/** Any would do: nothing finds an environment's disk by it, and a guest may know what its names are hashed with. */
const IDENTITY = "70797267-656e-4d65-8f6f-726574656e76";
const E2FSPROGS = "sudo apt-get install -y e2fsprogs";
const QEMU_UTILS = "sudo apt-get install -y qemu-utils";

/** The releases of mke2fs and qemu-img, which decide some of the bytes. */
export function diskTools() {
  // It says so on standard error.
  const mke2fs = run("sh", ["-c", "mke2fs -V 2>&1"], { env: environment(), hint: E2FSPROGS });
  const qemuImg = run("qemu-img", ["--version"], { hint: QEMU_UTILS });
  const [e2fsprogs, qemu] = [mke2fs, qemuImg].map(
    (said) => /\d+\.\d[\w.+~:-]*/.exec(said.toString("utf8"))?.[0],
  );
  if (e2fsprogs === undefined) throw new BuildError("mke2fs does not say its version", E2FSPROGS);
  return { e2fsprogs, qemu };
}

/**
 * A qcow2 with an empty ext4 file system, of which every environment's disk is a copy at first. Same tools, same bytes.
 * @param scratch a directory for what is in between
 */
export function emptyDisk(scratch) {
  const directory = mkdtempSync(join(scratch, "disk-"));
  const [raw, disk] = [join(directory, "disk.raw"), join(directory, "disk.qcow2")];
  writeFileSync(raw, "");
  truncateSync(raw, DISK_BYTES);
  run("mke2fs", [...mke2fsArguments(), raw], { env: environment(), hint: E2FSPROGS });
  const options = ["-f", "raw", "-O", "qcow2", "-o", "compat=1.1,lazy_refcounts=off"];
  run("qemu-img", ["convert", ...options, raw, disk], { hint: QEMU_UTILS });
  const bytes = readFileSync(disk);
  rmSync(directory, { recursive: true });
  return bytes;
}

function mke2fsArguments() {
  return [
    ...["-q", "-F", "-t", "ext4"],
    ...["-O", FEATURES.join(",")],
    ...["-b", "4096", "-I", "256", "-i", "16384"],
    // What root's own tools need when a guest fills its disk; 1 % of 16 GiB.
    ...["-m", "1"],
    ...["-J", "size=64"],
    // A sparse file reads as zeros: the inode tables count as written, so no guest ever writes them out again.
    ...["-E", `lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0,discard,hash_seed=${IDENTITY}`],
    ...["-U", IDENTITY],
    ...["-L", "pyro-root"],
  ];
}

function environment() {
  return {
    ...process.env,
    // An ordinary user's often lacks the directories of mke2fs and its like.
    PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
    // Nothing of this machine's own.
    MKE2FS_CONFIG: "/dev/null",
    // Older releases read the first, later ones the second.
    E2FSPROGS_FAKE_TIME: "1",
    SOURCE_DATE_EPOCH: "1",
  };
}
