import { afterAll, describe, expect, it } from "vitest";
import { connectUnix, Slots, sleep } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { bootMachine, type Machine, type VmmDriver } from "../../../src/vmm/index.js";
import { processesNamed } from "../../../src/vmm/qemu/processes.js";
import { FakeVmmDriver } from "../../fakes/fake-vmm.js";
import { MachineDirectory } from "../../fakes/stub-qemu.js";

const directory = new MachineDirectory();
afterAll(() => directory[Symbol.dispose]());

const never = (_: Machine, signal: AbortSignal): Promise<never> => sleep(1_000_000, signal) as Promise<never>;
const options = (): { slots: Slots } => ({ slots: new Slots(2) });

async function failed(driver: VmmDriver, more: object = {}, hello = never): Promise<PyroError> {
  const spec = directory.spec();
  const error: unknown = await bootMachine(driver, spec, hello, { ...options(), ...more }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(await processesNamed(spec.id)).toEqual([]);
  expect(error).toBeInstanceOf(PyroError);
  return error as PyroError;
}

describe("A boot", () => {
  it("gives the machine and what the agent said", async () => {
    const booted = await bootMachine(
      new FakeVmmDriver(),
      directory.spec(),
      async ({ agentSocket }) => {
        const socket = await connectUnix(agentSocket);
        socket.write("hello");
        const [answer] = (await socket.take(1).toArray()) as Buffer[];
        return String(answer);
      },
      options(),
    );
    expect(booted.hello).toBe("hello");
    expect(booted.bootMs).toBeGreaterThan(0);
    await booted.machine.kill();
  });

  it("without a sign of the agent ends at its deadline, with the console's end", async () => {
    const driver = new FakeVmmDriver({ consoleTail: "one\r\n\u001b[31mVFS: cannot open root\u001b[0m\r\n" });
    const error = await failed(driver, { timeoutMs: 300 });
    expect(error.code).toBe("VM_BOOT_TIMEOUT");
    expect(error.message).toContain("did not reach its agent within 300 ms");
    expect(error.message).toContain("its console ends with:\none\nVFS: cannot open root");
    expect(error.hint).toContain("pyro doctor");
    expect(error.details).toMatchObject({
      console_tail: "one\nVFS: cannot open root",
      isolation: "software",
    });
  });

  it("whose machine dies says so", async () => {
    const error = await failed(new FakeVmmDriver({ dieAfterMs: 100 }));
    expect(error.code).toBe("VM_CRASHED");
    expect(error.message).toContain("ended while it booted (SIGKILL)");
  });

  it("whose machine dies is called crashed even when the agent's connection broke first", async () => {
    const error = await failed(new FakeVmmDriver({ dieAfterMs: 100 }), {}, async () => {
      await sleep(90);
      throw new PyroError("GUEST_DISCONNECTED", "gone");
    });
    expect(error.code).toBe("VM_CRASHED");
  });

  it("whose agent talks nonsense gives that error and ends the machine", async () => {
    const error = await failed(new FakeVmmDriver(), {}, () =>
      Promise.reject(new PyroError("GUEST_PROTOCOL_ERROR", "nonsense")),
    );
    expect(error.code).toBe("GUEST_PROTOCOL_ERROR");
  });

  it("whose machine does not start gives the driver's error", async () => {
    expect((await failed(new FakeVmmDriver({ atStart: "exit" }))).code).toBe("VM_START_FAILED");
    expect((await failed(new FakeVmmDriver({ atStart: "garbage" }))).code).toBe("VMM_PROTOCOL_ERROR");
  });

  it("whose driver hangs ends at the boot's deadline", async () => {
    const driver = new FakeVmmDriver({ atStart: "hang", hangMs: 100_000 });
    expect((await failed(driver, { timeoutMs: 200 })).code).toBe("VM_BOOT_TIMEOUT");
  });

  it("whose machine is stopped is given up as unresponsive", async () => {
    const error = await failed(new FakeVmmDriver(), {}, ({ pid }, signal) => {
      process.kill(pid, "SIGSTOP");
      return sleep(1_000_000, signal) as Promise<never>;
    });
    expect(error.code).toBe("VM_UNRESPONSIVE");
    expect(error.hint).not.toBe("");
  });

  it("that meets a full host disk says so", async () => {
    const error = await failed(directory.stubDriver("ok"), {}, ({ pid }, signal) => {
      process.kill(pid, "SIGUSR2");
      return sleep(1_000_000, signal) as Promise<never>;
    });
    expect(error.code).toBe("DISK_FULL");
    expect(error.hint).toContain("pyro env prune");
    expect(error.details["console_tail"]).toContain("Kernel panic");
  });

  it("that is aborted gives the caller's reason and leaves nothing", async () => {
    const spec = directory.spec();
    const abort = new AbortController();
    const booting = bootMachine(new FakeVmmDriver(), spec, never, { ...options(), signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 200);
    await expect(booting).rejects.toThrow("enough");
    expect(await processesNamed(spec.id)).toEqual([]);
  });

  it("counts its deadline from its own start, not from its place in the queue", async () => {
    const slots = new Slots(1);
    const held = await slots.take();
    let left = false;
    const onStart = (): void => void (left = true);
    const booting = bootMachine(new FakeVmmDriver(), directory.spec(), () => Promise.resolve("hi"), {
      slots,
      timeoutMs: 2_000,
      onStart,
    });
    await sleep(2_200);
    expect(left).toBe(false);
    held[Symbol.dispose]();
    const { machine, hello } = await booting;
    expect(hello).toBe("hi");
    expect(left).toBe(true);
    await machine.kill();
  });

  it("frees its slot whether it succeeds or fails", async () => {
    const slots = new Slots(1);
    const driver = new FakeVmmDriver({ atStart: "exit" });
    await expect(bootMachine(driver, directory.spec(), never, { slots })).rejects.toThrow();
    const { machine } = await bootMachine(new FakeVmmDriver(), directory.spec(), () => Promise.resolve(1), {
      slots,
    });
    (await slots.take())[Symbol.dispose]();
    await machine.kill();
  });
});
