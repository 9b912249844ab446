import { readFileSync, statSync } from "node:fs";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { sleep, within } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { QemuDriver, type MachineSpec } from "../../../src/vmm/index.js";
import { processesNamed } from "../../../src/vmm/qemu/processes.js";
import { leftIn, MachineDirectory, type StubMode } from "../../fakes/stub-qemu.js";

const directory = new MachineDirectory();
afterAll(() => directory[Symbol.dispose]());

const specs: MachineSpec[] = [];
function spec(more: Partial<MachineSpec> = {}): MachineSpec {
  const made = directory.spec(more);
  specs.push(made);
  return made;
}

afterEach(async () => {
  for (const { id, ...made } of specs.splice(0)) {
    expect(await processesNamed(id)).toEqual([]);
    expect(leftIn({ id, ...made })).toEqual([]);
  }
});

/** The error of a start that must fail. */
async function failure(starting: Promise<unknown>): Promise<PyroError> {
  try {
    await starting;
  } catch (error) {
    expect(error).toBeInstanceOf(PyroError);
    return error as PyroError;
  }
  throw new Error("the start did not fail");
}

describe("A QEMU that", () => {
  it("exits at once fails the start with its exit code and what it said, made printable", async () => {
    const error = await failure(directory.stubDriver("exit").start(spec()));
    expect(error.code).toBe("VM_START_FAILED");
    expect(error.message).toMatch(
      /^QEMU exited with 1 before machine vm-\w+ started: qemu-stub: no such machine$/,
    );
    expect(error.hint).toContain("pyro doctor");
    expect(error.details).toMatchObject({ isolation: "software", exit_code: 1, signal: null });
  });

  it("prints 1 GB and exits fails the start with only its last words", async () => {
    const error = await failure(directory.stubDriver("flood", { qmpTimeoutMs: 20_000 }).start(spec()));
    expect(error.code).toBe("VM_START_FAILED");
    expect(error.message).toContain("the last words");
    expect(JSON.stringify(error).length).toBeLessThan(32 * 1024);
  }, 30_000);

  const silent: readonly StubMode[] = ["hang", "silent"];
  it.each(silent)("stays silent (%s) fails the start at the deadline", async (mode) => {
    const error = await failure(directory.stubDriver(mode, { qmpTimeoutMs: 500 }).start(spec()));
    expect(error.code).toBe("VMM_PROTOCOL_ERROR");
    expect(error.message).toContain("did not answer on its control socket within 500 ms");
    expect(error.hint).toContain("pyro doctor");
  });

  it.each([
    ["garbage", "QEMU's QMP socket sent something else: HTTP/1.1 400 Bad Request"],
    ["number", "QEMU's QMP socket sent something else: 42"],
    ["endless", "QEMU sent a QMP line of more than 1048576 bytes"],
    ["refuse", 'QEMU refused qmp_capabilities: "the stub refuses"'],
  ] as const)("talks %s on its control socket fails the start at once", async (mode, message) => {
    const error = await failure(directory.stubDriver(mode).start(spec()));
    expect(error.code).toBe("VMM_PROTOCOL_ERROR");
    expect(error.message).toBe(message);
    expect(error.hint).not.toBe("");
  });

  it("closes its control socket but lives on fails the start", async () => {
    const error = await failure(directory.stubDriver("close", { qmpTimeoutMs: 1_000 }).start(spec()));
    expect(error.code).toBe("VM_START_FAILED");
    expect(error.message).toContain("closed its control socket");
  });

  it("dies later is noticed, with what it said", async () => {
    const machine = await directory.stubDriver("later").start(spec());
    expect(await machine.exited).toEqual({ code: 4, signal: null });
    expect((await machine.diagnostics()).stderrTail).toContain("qemu-stub: later");
    expect(await machine.status()).toBe("ended");
  });

  it("reports that its guest panicked is ended, and the console's end is kept", async () => {
    const machine = await directory.stubDriver("ok").start(spec());
    process.kill(machine.pid, "SIGUSR1");
    expect(await within(machine.exited, 5_000, "exit")).toEqual({ code: 0, signal: null });
    expect((await machine.diagnostics()).consoleTail).toContain("Kernel panic");
  });

  it("stopped for a full host disk says so, and runs on when told to", async () => {
    await using machine = await directory.stubDriver("ok").start(spec());
    process.kill(machine.pid, "SIGUSR2");
    while ((await machine.status()) === "running") await sleep(5);
    expect(await machine.status()).toBe("io-error");
    await machine.resume();
    expect(await machine.status()).toBe("running");
  });
});

describe("A start", () => {
  it("without QEMU on the host names the command that installs it", async () => {
    const error = await failure(directory.stubDriver("ok", { qemuPath: "/nonexistent/qemu" }).start(spec()));
    expect(error.code).toBe("QEMU_NOT_FOUND");
    expect(error.hint).toContain("install");
  });

  it("with a disk that is not there, or is none, names it", async () => {
    const disk = { format: "raw", readOnly: true } as const;
    const driver = directory.stubDriver("ok");
    const gone = await failure(driver.start(spec({ disks: [{ ...disk, path: "/nonexistent.img" }] })));
    expect(gone.code).toBe("VM_START_FAILED");
    expect(gone.message).toContain("/nonexistent.img: ENOENT");
    const odd = await failure(driver.start(spec({ disks: [{ ...disk, path: "/dev/null" }] })));
    expect(odd.message).toContain("/dev/null: neither a file nor a block device");
  });

  it("hands its disks over as descriptors, and makes a writable one the property of QEMU's user", async () => {
    const base = directory.file("base.raw", "base");
    const header = Buffer.alloc(64);
    header.writeBigUInt64BE(40n * 1024n ** 3n, 24);
    const overlay = directory.file("overlay.qcow2", header);
    const root = process.getuid?.() === 0;
    const user = root ? 1_900_000_042 : undefined;
    const disks = [
      { path: overlay, format: "qcow2", readOnly: false, backing: { path: base, format: "raw" } },
      { path: base, format: "raw", readOnly: true },
    ] as const;
    // As that user the stub's own files cannot be read; it fails, but only after all was prepared.
    const driver = directory.stubDriver("ok", { userFor: () => Promise.resolve(user), qmpTimeoutMs: 3_000 });
    const made = spec({ disks });
    const machine = await driver.start(made).catch(() => undefined);
    if (machine !== undefined) {
      const args = readFileSync(`/proc/${machine.pid}/cmdline`, "utf8");
      for (const descriptor of [3, 4, 5, 6, 7]) expect(args).toContain(`/proc/self/fd/${descriptor}`);
      await machine.kill();
    }
    expect(machine === undefined).toBe(root);
    expect(statSync(overlay).uid).toBe(user ?? process.getuid?.());
    expect(statSync(made.directory).uid).toBe(user ?? process.getuid?.());
    expect(statSync(base).uid).toBe(process.getuid?.());
  });

  it("bounds the files QEMU may write by the size of its largest disk", async () => {
    const header = Buffer.alloc(64);
    header.writeBigUInt64BE(40n * 1024n ** 3n, 24);
    const disk = { path: directory.file("40g.qcow2", header), format: "qcow2", readOnly: false } as const;
    await using machine = await directory.stubDriver("ok").start(spec({ disks: [disk] }));
    const limits = readFileSync(`/proc/${machine.pid}/limits`, "utf8");
    expect(limits).toMatch(new RegExp(`Max file size\\s+${40 * 1024 ** 3 * 1.25 + 1024 ** 3 / 4}`));
  });

  it("passes on why there is no runtime bundle", async () => {
    const driver = new QemuDriver({
      bundle: () => Promise.reject(new PyroError("RUNTIME_BUNDLE_MISSING", "none")),
      qemuPath: "/bin/true",
    });
    expect((await failure(driver.start(spec()))).code).toBe("RUNTIME_BUNDLE_MISSING");
  });

  it("that is aborted while QEMU is silent ends it and gives the caller's reason", async () => {
    const abort = new AbortController();
    const starting = directory.stubDriver("silent").start(spec(), { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 200);
    await expect(starting).rejects.toThrow("enough");
  });

  it("works in a directory whose path is too long for a socket's name", async () => {
    const { mkdirSync } = await import("node:fs");
    const long = `${directory.path}/${"d".repeat(120)}`;
    mkdirSync(long);
    await using machine = await directory.stubDriver("ok").start(spec({ directory: long }));
    expect(await machine.status()).toBe("running");
  });
});
