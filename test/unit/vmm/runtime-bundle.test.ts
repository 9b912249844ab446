import { createHash } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { locateRuntimeBundle } from "../../../src/vmm/index.js";

let root: string;
let directory: string;
let verdictFile: string;

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const described = (text: string): object => ({ sha256: sha256(text), size_bytes: text.length });

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "pyro-bundle-"));
  directory = join(root, "bundle");
  verdictFile = join(root, "verdict.json");
  mkdirSync(directory);
  writeFileSync(join(directory, "vmlinux"), "kernel");
  writeFileSync(join(directory, "initramfs.cpio"), "initramfs");
  writeFileSync(join(directory, "pyro-hold"), "holder");
  writeFileSync(join(directory, "empty.qcow2"), "disk");
  writeManifest({});
});

afterEach(() => rmSync(root, { recursive: true }));

function writeManifest(more: object): void {
  const manifest = {
    format: 3,
    bundle_version: "0.1.0",
    kernel: { file: "vmlinux", release: "6.1.0" },
    initramfs: { file: "initramfs.cpio" },
    holder: { file: "pyro-hold" },
    empty_disk: { file: "empty.qcow2" },
    files: {
      vmlinux: described("kernel"),
      "initramfs.cpio": described("initramfs"),
      "pyro-hold": described("holder"),
      "empty.qcow2": described("disk"),
    },
    ...more,
  };
  writeFileSync(join(directory, "manifest.json"), JSON.stringify(manifest));
}

describe("The runtime bundle", () => {
  it("is opened to the users that machines run as, where the umask of its installation kept them out", async () => {
    const modeOf = (name: string): number => statSync(join(directory, name)).mode & 0o777;
    for (const name of ["vmlinux", "initramfs.cpio", "pyro-hold"]) chmodSync(join(directory, name), 0o600);
    await locateRuntimeBundle({ directory, otherUsers: false });
    expect(modeOf("vmlinux")).toBe(0o600);
    await locateRuntimeBundle({ directory, otherUsers: true, verdictFile });
    expect(["vmlinux", "initramfs.cpio", "pyro-hold"].map(modeOf)).toEqual([0o644, 0o644, 0o600]);
    await locateRuntimeBundle({ directory, otherUsers: true, verdictFile });
    expect(modeOf("vmlinux")).toBe(0o644);
  });

  it("is not opened through a link", async () => {
    const elsewhere = join(root, "elsewhere");
    writeFileSync(elsewhere, "kernel", { mode: 0o600 });
    rmSync(join(directory, "vmlinux"));
    symlinkSync(elsewhere, join(directory, "vmlinux"));
    await expect(locateRuntimeBundle({ directory, otherUsers: true })).rejects.toMatchObject({
      code: "RUNTIME_BUNDLE_DAMAGED",
      message: expect.stringContaining("cannot be read by the users that machines run as") as string,
    });
    expect(statSync(elsewhere).mode & 0o777).toBe(0o600);
  });

  it("is verified and described", async () => {
    expect(await locateRuntimeBundle({ directory })).toEqual({
      directory,
      kernelPath: join(directory, "vmlinux"),
      initramfsPath: join(directory, "initramfs.cpio"),
      holderPath: join(directory, "pyro-hold"),
      emptyDiskPath: join(directory, "empty.qcow2"),
      version: "0.1.0",
      kernelRelease: "6.1.0",
      digest: sha256(readFileSync(join(directory, "manifest.json"), "utf8")),
    });
  });

  it("that is missing says how to get it, in a checkout and elsewhere", async () => {
    rmSync(directory, { recursive: true });
    await expect(locateRuntimeBundle({ directory })).rejects.toMatchObject({
      code: "RUNTIME_BUNDLE_MISSING",
      hint: expect.stringContaining("reinstall pyro") as string,
    });
    writeFileSync(join(root, "build.mjs"), "");
    await expect(locateRuntimeBundle({ directory })).rejects.toMatchObject({
      hint: "build it with `make runtime`",
    });
  });

  it("with one changed byte is damaged, and the file is named", async () => {
    await locateRuntimeBundle({ directory, verdictFile });
    writeFileSync(join(directory, "vmlinux"), "kernej");
    await expect(locateRuntimeBundle({ directory, verdictFile })).rejects.toMatchObject({
      code: "RUNTIME_BUNDLE_DAMAGED",
      message: expect.stringContaining("vmlinux has SHA-256") as string,
      details: { path: join(directory, "vmlinux") },
    });
  });

  it("with a changed byte is damaged although length and time are the old ones", async () => {
    await locateRuntimeBundle({ directory, verdictFile });
    const { atime, mtime } = statSync(join(directory, "vmlinux"));
    writeFileSync(join(directory, "vmlinux"), "kernej");
    utimesSync(join(directory, "vmlinux"), atime, mtime);
    await expect(locateRuntimeBundle({ directory, verdictFile })).rejects.toMatchObject({
      code: "RUNTIME_BUNDLE_DAMAGED",
    });
  });

  it("that is cut off or lacks a file is damaged", async () => {
    writeFileSync(join(directory, "vmlinux"), "ker");
    await expect(locateRuntimeBundle({ directory })).rejects.toThrow("has 3 bytes instead of 6");
    rmSync(join(directory, "vmlinux"));
    await expect(locateRuntimeBundle({ directory })).rejects.toThrow("vmlinux is missing");
  });

  it("with a manifest that is none is damaged", async () => {
    writeManifest({ format: 2 });
    await expect(locateRuntimeBundle({ directory })).rejects.toThrow("format");
    writeManifest({ files: { vmlinux: described("kernel") } });
    await expect(locateRuntimeBundle({ directory })).rejects.toThrow("does not describe initramfs.cpio");
    writeManifest({ kernel: { file: "../../etc/passwd", release: "x" } });
    await expect(locateRuntimeBundle({ directory })).rejects.toMatchObject({
      code: "RUNTIME_BUNDLE_DAMAGED",
    });
    writeFileSync(join(directory, "manifest.json"), "{");
    await expect(locateRuntimeBundle({ directory })).rejects.toThrow("is not JSON");
  });

  it("is not read again while nothing changed", async () => {
    const first = await locateRuntimeBundle({ directory, verdictFile });
    const verdict = readFileSync(verdictFile, "utf8");
    expect(await locateRuntimeBundle({ directory, verdictFile })).toEqual(first);
    expect(readFileSync(verdictFile, "utf8")).toBe(verdict);
  });

  it("works with a verdict file that is torn or cannot be written", async () => {
    writeFileSync(verdictFile, '"torn');
    await locateRuntimeBundle({ directory, verdictFile });
    chmodSync(verdictFile, 0o600);
    await locateRuntimeBundle({ directory, verdictFile: join(root, "no/such/place") });
  });

  it("is looked for beside the package where nothing else is said", async () => {
    const found: unknown = await locateRuntimeBundle().catch((error: unknown) => error);
    expect(JSON.stringify(found)).toContain("runtime/bundle");
  });
});
