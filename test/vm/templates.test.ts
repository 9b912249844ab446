import { chmodSync, chownSync, truncateSync } from "node:fs";
import { mkdir, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ImagesInUse } from "../../src/daemon/images-in-use.js";
import { Machines } from "../../src/daemon/machines.js";
import { mountWithIdentity } from "../../src/daemon/mounted-root.js";
import { Overlays } from "../../src/daemon/overlay.js";
import { Templates } from "../../src/daemon/templates.js";
import { connectGuest, startProcess, type GuestConnection } from "../../src/guest/index.js";
import { packagePath, silentLogger, Slots } from "../../src/kit/index.js";
import { EnvironmentStore, IMAGE_VIRTUAL_BYTES, layoutOf, loadCatalogue } from "../../src/image/index.js";
import { locateQemu, locateRuntimeBundle, QemuDriver } from "../../src/vmm/index.js";
import { MachineDirectory } from "../fakes/stub-qemu.js";
import { flipByte } from "./flip-byte.js";
import { eventually, json, leftovers, machinesOf, pyro } from "./support.js";
import { templateState } from "./template-state.js";

const isRoot = process.geteuid?.() === 0;
if (!isRoot) console.warn("skipped: only root can give a directory to another user");
const NOBODY = 65_534;
const never = new AbortController().signal;

const state = templateState();

describe("machines of one template", () => {
  it.each(["with nothing mounted", "with the environment mounted"])(
    "%s share nothing that must be their own, and know what time it is",
    async (which) => {
      const vms = join(state.path, "test-vms");
      await mkdir(vms, { mode: 0o711 });
      const driver = new QemuDriver({ bundle: () => locateRuntimeBundle() });
      const log = silentLogger;
      await using machines = new Machines({
        ...{ directory: vms, driver, log, slots: new Slots(2) },
        connect: (socket) => connectGuest(socket),
      });
      await using templates = new Templates({
        ...{ machines, driver, overlays: new Overlays(), inUse: new ImagesInUse(), log },
        directory: join(state.path, "cache/templates"),
        bundle: () => locateRuntimeBundle(),
      });
      const layout = layoutOf(join(state.path, "cache"));
      const image = await new EnvironmentStore(
        await loadCatalogue(packagePath("environments")),
        layout,
      ).require("debian:12");
      const overlays = new Overlays();
      const shape = {
        vcpuCount: 1,
        memMib: 512,
        isolation: "software",
        diskBytes: [IMAGE_VIRTUAL_BYTES],
      } as const;
      const isMounted = which.startsWith("with the");
      if (isMounted) (await templates.prepare({ ...shape, mounted: image }, never))[Symbol.dispose]();
      const seen: string[][] = [];
      let begunWith = 0;
      const clockErrorsMs: number[] = [];
      for (let count = 0; count < 20; count += 1) {
        await using machine = await templates.start(
          {
            ...{ ...shape, kind: "sandbox", environment: image },
            disks: async (directory, begun) => {
              begunWith += begun === undefined ? 0 : 1;
              const below = { path: image.path, format: "qcow2" } as const;
              return [await overlays.make(below, join(directory, "root.qcow2"), begun)];
            },
          },
          never,
        );
        // A template of last year, or of a time when the host's clock was ahead.
        if (count < 2) await setClock(machine.guest, Date.now() + (count === 0 ? -YEAR_MS : YEAR_MS));
        await mountWithIdentity(machine.guest, never);
        seen.push(await identityOf(machine.guest));
        clockErrorsMs.push(await clockErrorOf(machine.guest));
      }
      for (const [index, what] of ["getrandom", "uuid", "boot id", "machine id", "host name"].entries()) {
        expect(new Set(seen.map((values) => values[index])).size, what).toBe(20);
      }
      console.info(`clock errors: ${clockErrorsMs.map((error) => error.toFixed(1)).join(" ")} ms`);
      expect(Math.max(...clockErrorsMs.map(Math.abs))).toBeLessThan(50);
      expect(begunWith).toBe(isMounted ? 20 : 0);
      expect(await state.templates()).toHaveLength(isMounted ? 2 : 1);
      expect(await readdir(vms)).toEqual([]);
    },
  );
});

describe("a machine whose guest floods its port", () => {
  it("is left and saved all the same, and what is restored of it answers", async () => {
    const driver = new QemuDriver({ bundle: () => locateRuntimeBundle() });
    using directory = new MachineDirectory();
    const files = {
      memoryFile: directory.file("memory"),
      stateFile: join(directory.path, "state"),
    };
    truncateSync(files.memoryFile, 512 * 1024 ** 2);
    {
      const spec = directory.spec({ memMib: 512, memoryFile: files.memoryFile });
      await using machine = await driver.start(spec);
      const guest = await connectGuest(machine.agentSocket);
      const flood = guest.diagnostics.flood({ bytes: 1024n ** 3n });
      flood.catch(() => undefined);
      await guest.probeReceived(8 * 1024 ** 2);
      await expect(machine.save(files.stateFile)).rejects.toMatchObject({ code: "VM_SAVE_FAILED" });
      await guest[Symbol.asyncDispose]();
      await machine.save(files.stateFile);
    }
    chmodSync(files.memoryFile, 0o666);
    for (let count = 0; count < 4; count += 1) {
      await using machine = await driver.start(directory.spec({ memMib: 512 }), { restore: files });
      const guest = await connectGuest(machine.agentSocket);
      await guest.system.ping({});
      await guest[Symbol.asyncDispose]();
    }
  });
});

describe("a template", () => {
  it.each(["memory", "state"])("whose %s was damaged is named and made anew", async (name) => {
    await state.run("true");
    await pyro(["daemon", "stop"], { stateDir: state.path });
    const [key = ""] = await state.templates();
    flipByte(join(state.path, "cache/templates", key, name));
    expect(await state.run("echo", "fine")).toBe("fine\n");
    expect(await state.logged("template.damaged")).toMatchObject([
      { code: "TEMPLATE_DAMAGED", reason: expect.stringContaining(`${name} has SHA-256`) as string },
    ]);
    expect(await state.logged("template.made")).toHaveLength(2);
    expect(await state.templates()).toEqual([key]);
  });

  it("is made once, however many ask at once", async () => {
    const outputs = await Promise.all([
      state.run("echo", "1"),
      state.run("echo", "2"),
      state.run("echo", "3"),
    ]);
    expect(outputs).toEqual(["1\n", "2\n", "3\n"]);
    expect(await state.logged("template.made")).toHaveLength(1);
  });

  it("whose QEMU is killed while it is made leaves nothing, and the command runs", async () => {
    const running = state.run("echo", "fine");
    await eventually(
      "the machine of the template starts",
      async () => (await machinesOf(state.path)).length === 1,
    );
    for (const pid of await machinesOf(state.path)) process.kill(pid, "SIGKILL");
    expect(await running).toBe("fine\n");
    expect(await state.logged("template.unavailable")).toMatchObject([
      { code: expect.stringMatching(/^VM_(CRASHED|START_FAILED)$/) as string },
    ]);
    expect(await state.templates()).toEqual([]);
  });

  it("of a directory that others can write to is refused, and the command runs", async () => {
    await mkdir(join(state.path, "cache/templates"));
    chmodSync(join(state.path, "cache/templates"), 0o777);
    expect(await state.run("echo", "fine")).toBe("fine\n");
    expect(await state.logged("template.unavailable")).toMatchObject([{ code: "TEMPLATE_NOT_PRIVATE" }]);
  });

  it.skipIf(!isRoot).each(["all of them", "its own"])(
    "of a directory (of %s) that another user made is refused, and the command runs",
    async (which) => {
      await state.run("true");
      await pyro(["daemon", "stop"], { stateDir: state.path });
      const [key = ""] = await state.templates();
      const theirs = join(state.path, "cache/templates", which === "its own" ? key : "");
      chownSync(theirs, NOBODY, NOBODY);
      expect(await state.run("echo", "fine")).toBe("fine\n");
      expect(await state.logged("template.unavailable")).toMatchObject([
        { code: "TEMPLATE_NOT_PRIVATE", reason: expect.stringContaining(`(owner ${NOBODY}`) as string },
      ]);
    },
  );

  it("of a QEMU that was replaced is made anew, under a daemon that runs on, and the log says so", async () => {
    const programs = join(state.path, "programs");
    await mkdir(programs, { mode: 0o755 });
    const { path: real } = await locateQemu();
    // As a package does it: another file, renamed into place.
    const install = async (build: number): Promise<void> => {
      const script = `#!/bin/sh\n# build ${build}\nexec ${real} "$@"\n`;
      await writeFile(join(programs, "new"), script, { mode: 0o755 });
      await rename(join(programs, "new"), join(programs, "qemu-system-x86_64"));
    };
    const ready = async (): Promise<unknown> =>
      json(await pyro(["env", "inspect", "debian:12", "--json"], { stateDir: state.path }))["template"];
    await install(1);
    const env = { PATH: `${programs}:${process.env["PATH"] ?? ""}` };
    await pyro(["env", "list"], { stateDir: state.path, env });
    await state.run("true");
    const [first] = await state.templates();
    expect(await ready()).toBe("warm");
    await install(2);
    expect(await ready()).toBe("stale");
    expect(await state.run("echo", "fine")).toBe("fine\n");
    expect(await ready()).toBe("warm");
    const [second, ...more] = await state.templates();
    expect([second === first, more]).toEqual([false, []]);
    expect(await state.logged("template.made")).toMatchObject([{ key: first }, { key: second }]);
    expect(await state.logged("template.stale")).toMatchObject([{ key: first, successor: second }]);
    expect(await state.logged("template.not-restored")).toEqual([]);
  });
});

describe("prepare", () => {
  const prepare = async (...more: string[]): Promise<Record<string, unknown>> =>
    json(await pyro(["prepare", "--json", ...more], { stateDir: state.path }));
  const steps = (template: string): object => ({
    environment: "debian:12",
    reused: template === "reused",
    steps: [
      { name: "environment", what: "reused" },
      { name: "template", what: template },
    ],
  });

  it("makes the template that a run of the default size starts from; again only for who insists", async () => {
    const ready = async (): Promise<unknown> =>
      json(await pyro(["env", "inspect", "debian:12", "--json"], { stateDir: state.path }))["template"];
    expect(await ready()).toBe("cold");
    expect(await prepare()).toMatchObject(steps("made"));
    expect(await ready()).toBe("warm");
    expect(await prepare("debian:12")).toMatchObject(steps("reused"));
    await state.run("true");
    expect(await state.logged("template.made")).toHaveLength(2);
    expect(await state.logged("template.unavailable")).toEqual([]);
    await pyro(["daemon", "stop"], { stateDir: state.path });
    expect(await prepare()).toMatchObject(steps("reused"));
    expect(await prepare("--force")).toMatchObject(steps("made"));
    await state.run("true");
    expect(await state.logged("template.made")).toHaveLength(4);
    expect(await state.logged("template.not-restored")).toEqual([]);
    expect(await state.templates()).toHaveLength(2);
    await eventually("the old ones leave memory", async () => (await holdersOf(state.path)).length === 2);
  });

  it("is undone for an environment that is pruned, in memory and on the disk", async () => {
    await prepare();
    const key = await state.mounted();
    const pruned = json(await pyro(["env", "prune", "--all", "--json"], { stateDir: state.path }));
    expect(pruned["removed"]).toContain(`memory template ${key.slice(0, 12)}`);
    expect(await state.templates()).toHaveLength(1);
    await eventually("it leaves memory", async () => (await holdersOf(state.path)).length === 1);
  });
});

/** Processes that hold templates of a state directory in memory. */
async function holdersOf(path: string): Promise<string[]> {
  return (await leftovers(path)).filter((line) => line.includes("pyro-hold"));
}

const YEAR_MS = 365 * 24 * 3_600_000;

async function setClock(guest: GuestConnection, unixMs: number): Promise<void> {
  await guest.system.personalize({ unixNanos: BigInt(unixMs) * 1_000_000n, entropy: Buffer.alloc(32, 1) });
}

const IDENTITY = `head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '
cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id /etc/machine-id /etc/hostname`;

async function identityOf(guest: GuestConnection): Promise<string[]> {
  const child = await startProcess(guest, {
    ...{ processId: "identity", argv: ["/bin/sh", "-c", IDENTITY].map((word) => Buffer.from(word)) },
    ...{ env: [Buffer.from("PATH=/usr/bin:/bin")], cwd: "/", openStdin: false, whenUnread: "wait" },
  });
  let text = "";
  for await (const { data } of child.output) text += Buffer.from(data).toString();
  await child.exit;
  const values = text.trim().split("\n");
  expect(values).toHaveLength(5);
  return values;
}

/** The guest's clock against the middle of the shortest of some exchanges with a shell that prints it. */
async function clockErrorOf(guest: GuestConnection): Promise<number> {
  const script = 'while read -r line; do echo "$EPOCHREALTIME"; done';
  const child = await startProcess(guest, {
    ...{ processId: "clock", argv: ["/bin/bash", "-c", script].map((word) => Buffer.from(word)) },
    ...{ env: [Buffer.from("PATH=/usr/bin:/bin")], cwd: "/", openStdin: true, whenUnread: "wait" },
  });
  const output = child.output[Symbol.asyncIterator]();
  let best = { lengthMs: Infinity, errorMs: Infinity };
  for (let round = 0; round < 10; round += 1) {
    const askedAt = Date.now();
    const startedAt = performance.now();
    await child.writeInput(Buffer.from("now\n"));
    const answer = await output.next();
    const lengthMs = performance.now() - startedAt;
    const guestMs = Number(Buffer.from((answer.value as { data: Uint8Array }).data).toString()) * 1_000;
    if (lengthMs < best.lengthMs) best = { lengthMs, errorMs: guestMs - (askedAt + lengthMs / 2) };
  }
  await child.endInput();
  for (let next = await output.next(); next.done !== true;) next = await output.next();
  await child.exit;
  return best.errorMs;
}
