import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freshId } from "../../src/kit/index.js";
import { type MachineSpec, QemuDriver, type QemuDriverOptions } from "../../src/vmm/index.js";

/**
 * How a stand-in for QEMU behaves. "ok" answers QMP and echoes on the agent's socket; SIGUSR1 makes its guest panic,
 * SIGUSR2 fills its disk. "later" is "ok" and exits with 4 soon after.
 */
export type StubMode =
  | "ok"
  | "later"
  | "exit"
  | "hang"
  | "silent"
  | "close"
  | "garbage"
  | "number"
  | "endless"
  | "refuse"
  | "flood";

/** A directory for machines and their files; removed with everything in it. */
export class MachineDirectory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "pyro-vmm-"));

  /** A spec with a fresh id and a private directory. */
  spec(more: Partial<MachineSpec> = {}): MachineSpec {
    const id = freshId("vm");
    const directory = join(this.path, id);
    mkdirSync(directory, { mode: 0o700 });
    return { id, vcpuCount: 1, memMib: 128, disks: [], isolation: "software", directory, ...more };
  }

  file(name: string, content: string | Uint8Array = ""): string {
    const path = join(this.path, name);
    writeFileSync(path, content);
    return path;
  }

  /** A driver whose QEMU is the stub. It runs as this user: the stub's files are not everybody's to read. */
  stubDriver(mode: StubMode, options: Partial<QemuDriverOptions> = {}): QemuDriver {
    const stub = fileURLToPath(new URL("stub-qemu.mjs", import.meta.url));
    const qemuPath = this.file(
      `qemu-${mode}`,
      `#!/bin/sh\nexec '${process.execPath}' '${stub}' ${mode} "$@"\n`,
    );
    chmodSync(qemuPath, 0o755);
    const bundle = { kernelPath: this.file("vmlinux"), initramfsPath: this.file("initramfs.cpio") };
    return new QemuDriver({
      qemuPath,
      bundle: () => Promise.resolve(bundle),
      qmpTimeoutMs: 10_000,
      userFor: () => Promise.resolve(undefined),
      ...options,
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** What a machine left in its directory. */
export function leftIn(spec: MachineSpec): string[] {
  return readdirSync(spec.directory).sort();
}
