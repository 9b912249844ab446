import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { locateQemu } from "../../../src/vmm/index.js";
import { findQemu, installCommand } from "../../../src/vmm/qemu/locate.js";

let directory: string;
const path = process.env["PATH"];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pyro-qemu-"));
});

afterEach(() => {
  process.env["PATH"] = path;
  rmSync(directory, { recursive: true });
});

function program(text: string): string {
  const file = join(directory, "qemu-system-x86_64");
  writeFileSync(file, `#!/bin/sh\n${text}\n`);
  chmodSync(file, 0o755);
  return file;
}

describe("QEMU", () => {
  it("is found in PATH, and tells its version whole", async () => {
    const file = program('echo "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)"');
    process.env["PATH"] = `${directory}:${path ?? ""}`;
    expect(await findQemu()).toBe(file);
    expect(await locateQemu()).toEqual({ path: file, version: "7.2.22 (Debian 1:7.2+dfsg-7)" });
  });

  it("that says nothing sensible is named", async () => {
    const file = program("echo oops >&2; exit 3");
    await expect(locateQemu(file)).rejects.toMatchObject({
      code: "VM_START_FAILED",
      message: expect.stringContaining(file) as string,
    });
  });

  it("that cannot be executed is not found", async () => {
    const file = program("");
    chmodSync(file, 0o644);
    await expect(findQemu(file)).rejects.toMatchObject({
      code: "QEMU_NOT_FOUND",
      hint: expect.stringContaining("install") as string,
    });
  });

  it.each([
    ['ID=debian\nVERSION_ID="12"', "apt-get install"],
    ['ID=linuxmint\nID_LIKE="ubuntu debian"', "apt-get install"],
    ['ID="fedora"', "dnf install"],
    ['ID="opensuse-leap"\nID_LIKE="suse opensuse"', "zypper install"],
    ["ID=plan9", "the package of your distribution"],
    ["", "the package of your distribution"],
  ])("is installed by the command of %j", (release, command) => {
    expect(installCommand(release)).toContain(command);
  });
});
