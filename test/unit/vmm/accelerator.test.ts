import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { type AcceleratorVerdict, chooseAccelerator, type Isolation } from "../../../src/vmm/index.js";

let directory: string;
let kvmDevice: string;
let bootIdFile: string;
let probes: string[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pyro-accelerator-"));
  kvmDevice = join(directory, "kvm");
  bootIdFile = join(directory, "boot_id");
  writeFileSync(kvmDevice, "");
  chmodSync(kvmDevice, 0o666);
  writeFileSync(bootIdFile, "boot-1\n");
  probes = [];
});

afterEach(() => rmSync(directory, { recursive: true }));

type Outcome = number | "hang" | "crash" | "qemu-gone";

const timeout = (): PyroError => new PyroError("VM_BOOT_TIMEOUT", "no hello");

function choose(
  outcomes: Partial<Record<Isolation, Outcome | readonly Outcome[]>>,
  more: object = {},
): Promise<AcceleratorVerdict> {
  return chooseAccelerator({
    bootProbe: (isolation, { timeoutMs }) => {
      const told = outcomes[isolation] ?? "crash";
      const seen = probes.filter((probe) => probe.startsWith(isolation)).length;
      probes.push(`${isolation} ${timeoutMs}`);
      const outcome = typeof told === "object" ? told[seen] : told;
      if (typeof outcome === "number") return Promise.resolve({ bootMs: outcome });
      if (outcome === "hang") return Promise.reject(timeout());
      if (outcome === "qemu-gone") return Promise.reject(new PyroError("QEMU_NOT_FOUND", "gone"));
      return Promise.reject(new PyroError("VM_START_FAILED", "it crashed"));
    },
    isolations: ["kvm", "software"],
    cacheDirectory: join(directory, "cache"),
    qemuVersion: "7.2",
    bundleDigest: "digest",
    kvmDevice,
    bootIdFile,
    ...more,
  });
}

describe("The accelerator", () => {
  it("is KVM where a probe machine boots with it", async () => {
    expect(await choose({ kvm: 400 })).toEqual({
      chosen: "kvm",
      accelerators: [
        { name: "kvm", usable: true, reason: "a probe machine booted", bootMs: 400 },
        { name: "software", usable: true, reason: "not needed" },
      ],
    });
    expect(probes).toEqual(["kvm 5000"]);
  });

  it("is emulation where KVM opens but its guest hangs, after a second, longer try", async () => {
    const verdict = await choose({ kvm: "hang" });
    expect(verdict.chosen).toBe("software");
    expect(verdict.accelerators[0]?.reason).toContain("hung: no sign of its agent within 15 s");
    expect(probes).toEqual(["kvm 5000", "kvm 15000"]);
  });

  it("is KVM where only the first try was too slow", async () => {
    expect((await choose({ kvm: ["hang", 9_000] })).chosen).toBe("kvm");
  });

  it("is emulation at once where KVM's probe machine crashes", async () => {
    const verdict = await choose({ kvm: "crash" });
    expect(verdict.accelerators[0]).toEqual({
      name: "kvm",
      usable: false,
      reason: "a probe machine failed: it crashed",
    });
    expect(probes).toEqual(["kvm 5000"]);
  });

  it("is emulation without a probe where there is no device, or it is closed", async () => {
    expect((await choose({}, { kvmDevice: `${kvmDevice}-none` })).accelerators[0]?.reason).toContain(
      "is missing",
    );
    chmodSync(kvmDevice, 0o600);
    const verdict = await choose({ kvm: 1 }, { force: process.getuid?.() === 0 ? false : true });
    // An ordinary user owns this file and may open it; root may too, but not the user that QEMU runs as.
    if (process.getuid?.() === 0)
      expect(verdict.accelerators[0]?.reason).toContain("closed to the unprivileged user");
    expect(probes.filter((probe) => probe.startsWith("kvm"))).toHaveLength(process.getuid?.() === 0 ? 0 : 1);
  });

  it("is remembered until host, QEMU or bundle change", async () => {
    const first = await choose({ kvm: 400 });
    expect(await choose({ kvm: "crash" })).toEqual(first);
    expect((await choose({ kvm: "crash" }, { qemuVersion: "8" })).chosen).toBe("software");
    expect((await choose({ kvm: 1 }, { bundleDigest: "other" })).chosen).toBe("kvm");
    writeFileSync(bootIdFile, "boot-2\n");
    expect((await choose({ kvm: "crash" })).chosen).toBe("software");
  });

  it("is found anew when that is forced, emulation included", async () => {
    await choose({ kvm: 400 });
    const verdict = await choose({ kvm: "hang", software: 2_500 }, { force: true });
    expect(verdict).toMatchObject({
      chosen: "software",
      accelerators: [{ usable: false }, { usable: true, bootMs: 2_500 }],
    });
    expect((await choose({})).chosen).toBe("software");
  });

  it("that does not exist is an error with the reasons", async () => {
    await expect(choose({ kvm: "crash", software: "crash" }, { force: true })).rejects.toMatchObject({
      code: "NO_ACCELERATOR",
      message: expect.stringContaining("software: a probe machine failed: it crashed") as string,
    });
    await expect(choose({ kvm: "crash" }, { isolations: ["kvm"] })).rejects.toMatchObject({
      code: "NO_ACCELERATOR",
    });
  });

  it("is not judged by a fault of the host", async () => {
    await expect(choose({ kvm: "qemu-gone" })).rejects.toMatchObject({ code: "QEMU_NOT_FOUND" });
  });

  it("is chosen although the verdict is torn or cannot be kept", async () => {
    await choose({ kvm: 400 });
    writeFileSync(join(directory, "cache/accelerator.json"), "{torn");
    expect((await choose({ kvm: 400 })).chosen).toBe("kvm");
    expect(JSON.parse(readFileSync(join(directory, "cache/accelerator.json"), "utf8"))).toMatchObject({
      chosen: "kvm",
    });
    expect((await choose({ kvm: 400 }, { cacheDirectory: join(kvmDevice, "below a file") })).chosen).toBe(
      "kvm",
    );
  });

  it("gives the caller's reason when it is aborted", async () => {
    await expect(choose({ kvm: 1 }, { signal: AbortSignal.abort(new Error("enough")) })).rejects.toThrow(
      "enough",
    );
  });
});
