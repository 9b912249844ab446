import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { distributionOf, thisDistribution } from "../../../src/kit/index.js";
import type { PyroError } from "../../../src/protocol/index.js";
import { locateQemu } from "../../../src/vmm/index.js";
import { findQemu, installCommand } from "../../../src/vmm/qemu/locate.js";

const APT = "sudo apt-get install -y --no-install-recommends qemu-system-x86 qemu-utils";
const DNF = "sudo dnf install -y qemu-system-x86-core qemu-img";
const DNF_OF_RHEL = "sudo dnf install -y qemu-kvm-core qemu-img";
const ZYPPER = "sudo zypper --non-interactive install qemu-x86 qemu-tools";
const PACMAN = "sudo pacman -S --needed --noconfirm qemu-system-x86 qemu-img";

/** The distribution, what matters of its os-release as it ships it, and the command. */
const INSTALLED_BY = [
  ["Debian 12", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n', APT],
  ["Ubuntu 24.04", 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', APT],
  ["Linux Mint", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', APT],
  ["Raspberry Pi OS", "ID=raspbian\nID_LIKE=debian\n", APT],
  ["Fedora 41", 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=41\n', DNF],
  ["RHEL 9", 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\n', DNF_OF_RHEL],
  ["CentOS Stream 9", 'ID="centos"\nID_LIKE="rhel fedora"\n', DNF_OF_RHEL],
  ["Rocky Linux 9", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', DNF_OF_RHEL],
  ["Arch Linux", 'NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n', PACMAN],
  ["EndeavourOS", "ID=endeavouros\nID_LIKE='arch'\n", PACMAN],
  ["openSUSE Leap", 'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', ZYPPER],
  ["openSUSE Tumbleweed", 'ID="opensuse-tumbleweed"\r\nID_LIKE="opensuse suse"\r\n', ZYPPER],
  ["Alpine", 'NAME="Alpine Linux"\nID=alpine\n', "sudo apk add qemu-system-x86_64 qemu-img setpriv flock"],
  ["NixOS", "ID=nixos\nNAME=NixOS\n", "nix-env -iA nixos.qemu"],
] as const;

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

  it("that is missing is named with the command that installs it, also as the words of `pyro doctor --fix`", async () => {
    const words = installCommand(await thisDistribution());
    const error = (await findQemu("/nonexistent/qemu").catch((thrown: unknown) => thrown)) as PyroError;
    expect(error.details["fix"]).toEqual(words);
    expect(error.hint).toContain(words?.join(" ") ?? "the package of your distribution");
  });

  it.each(INSTALLED_BY)("is installed on %s by one command", (_, release, command) => {
    expect(installCommand(distributionOf(release), false)?.join(" ")).toBe(command);
  });

  it("is installed by root without sudo", () => {
    expect(installCommand("alpine", true)?.join(" ")).toMatch(/^apk add qemu-system-x86_64 /);
    expect(installCommand("debian", true)?.[0]).toBe("apt-get");
  });

  it.each(["ID=plan9", "ID=", "", "PRETTY_NAME=debian\nVERSION=fedora", "ID=constructor"])(
    "is not installed by a guessed command where %j is all that is known",
    (release) => {
      expect(installCommand(distributionOf(release))).toBeUndefined();
    },
  );
});
