import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { connectGuest, type GuestConnection } from "../../src/guest/index.js";
import { Slots } from "../../src/kit/index.js";
import { PyroError } from "../../src/protocol/index.js";
import {
  bootMachine,
  chooseAccelerator,
  locateQemu,
  locateRuntimeBundle,
  type Machine,
  type MachineSpec,
  QemuDriver,
} from "../../src/vmm/index.js";
import { processesNamed } from "../../src/vmm/qemu/processes.js";
import { vmmDriverContract } from "../contract/vmm-driver.js";
import { leftIn, MachineDirectory } from "../fakes/stub-qemu.js";

const directory = new MachineDirectory();
afterAll(() => directory[Symbol.dispose]());

const driver = new QemuDriver({ bundle: () => locateRuntimeBundle() });
const slots = new Slots(2);
const connect = ({ agentSocket }: Machine, signal: AbortSignal): Promise<GuestConnection> =>
  connectGuest(agentSocket, { signal });

vmmDriverContract("QEMU", () => ({ driver, spec: () => directory.spec({ memMib: 512 }) }));

async function failed(spec: MachineSpec, booting: Promise<unknown>): Promise<PyroError> {
  const error: unknown = await booting.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(PyroError);
  expect(await processesNamed(spec.id)).toEqual([]);
  expect(leftIn(spec)).toEqual([]);
  return error as PyroError;
}

describe("A real machine", () => {
  it("boots to its agent, which sees its disks: an overlay to write to, over a base that stays as it is", async () => {
    const base = directory.file("base.img", Buffer.alloc(8 * 1024 * 1024));
    const spec = directory.spec({ memMib: 512 });
    const overlay = join(spec.directory, "disk.qcow2");
    // A name in the header that leads elsewhere: it must not be followed.
    execFileSync("qemu-img", [
      "create",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-b",
      "/etc/passwd",
      "-F",
      "raw",
      overlay,
      "8M",
    ]);
    const before = statSync(base);
    const disks = [
      { path: overlay, format: "qcow2", readOnly: false, backing: { path: base, format: "raw" } },
      { path: base, format: "raw", readOnly: true },
    ] as const;
    const booted = await bootMachine(driver, { ...spec, disks }, connect, { slots });
    const status = readFileSync(`/proc/${booted.machine.pid}/status`, "utf8");
    expect(status).toMatch(/NoNewPrivs:\s+1/);
    expect(status).toMatch(/Seccomp:\s+2/);
    expect(status).toMatch(/CapEff:\s+0000000000000000/);
    if (process.getuid?.() === 0) expect(status).toMatch(/Uid:\s+19\d{8}\s/);
    expect(booted.hello.hello.kernelRelease).toContain("cloud-amd64");
    await booted.hello[Symbol.asyncDispose]();
    await booted.machine.kill();
    expect(statSync(base).mtimeMs).toBe(before.mtimeMs);
    expect(leftIn(spec)).toEqual(["disk.qcow2"]);
  });

  it("whose kernel panics is called crashed, with the panic from its console", async () => {
    const bundle = await locateRuntimeBundle();
    const broken = {
      kernelPath: bundle.kernelPath,
      initramfsPath: directory.file("broken.cpio", "no archive"),
    };
    const spec = directory.spec({ memMib: 256 });
    const panicking = new QemuDriver({ bundle: () => Promise.resolve(broken) });
    const error = await failed(spec, bootMachine(panicking, spec, connect, { slots }));
    expect(error.code).toBe("VM_CRASHED");
    expect(error.message).toContain("Kernel panic - not syncing");
    expect(error.details["console_tail"]).toContain("Unable to mount root fs");
  });

  it("that is stopped while it boots is given up", async () => {
    const spec = directory.spec({ memMib: 512 });
    const booting = bootMachine(
      driver,
      spec,
      (machine, signal) => {
        process.kill(machine.pid, "SIGSTOP");
        return connect(machine, signal);
      },
      { slots },
    );
    expect((await failed(spec, booting)).code).toBe("VM_UNRESPONSIVE");
  });

  it("that is killed while it boots is called crashed", async () => {
    const spec = directory.spec({ memMib: 512 });
    const booting = bootMachine(
      driver,
      spec,
      (machine, signal) => {
        setTimeout(() => process.kill(machine.pid, "SIGKILL"), 500);
        return connect(machine, signal);
      },
      { slots },
    );
    expect((await failed(spec, booting)).code).toBe("VM_CRASHED");
  });

  it("that QEMU refuses to make fails to start, with QEMU's own words", async () => {
    const spec = directory.spec({
      memMib: 512,
      disks: [{ path: directory.file("odd.qcow2", "not a qcow2"), format: "qcow2", readOnly: true }],
    });
    const error = await failed(spec, driver.start(spec));
    expect(error.code).toBe("VM_START_FAILED");
    expect(error.message).toContain("not in qcow2 format");
  });
});

describe("This host's accelerator", () => {
  it("is the one that a machine really boots with, and the other has a reason", async () => {
    const cacheDirectory = mkdtempSync(join(tmpdir(), "pyro-verdict-"));
    try {
      const verdict = await chooseAccelerator({
        bootProbe: async (isolation, options) => {
          const spec = directory.spec({ isolation, memMib: 256 });
          const booted = await bootMachine(driver, spec, connect, { slots, ...options });
          await booted.hello[Symbol.asyncDispose]();
          await booted.machine.kill();
          return { bootMs: Math.round(booted.bootMs) };
        },
        isolations: driver.capabilities.isolations,
        cacheDirectory,
        qemuVersion: (await locateQemu()).version,
        bundleDigest: (await locateRuntimeBundle()).digest,
        force: true,
      });
      console.info(JSON.stringify(verdict));
      expect(verdict.accelerators.find(({ name }) => name === verdict.chosen)).toMatchObject({
        usable: true,
      });
      for (const { reason } of verdict.accelerators) expect(reason).not.toBe("");
    } finally {
      rmSync(cacheDirectory, { recursive: true });
    }
  });
});
