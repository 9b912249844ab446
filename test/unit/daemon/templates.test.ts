import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ImagesInUse } from "../../../src/daemon/images-in-use.js";
import { Machines } from "../../../src/daemon/machines.js";
import { Overlays } from "../../../src/daemon/overlay.js";
import { Templates, type RestoreRequest } from "../../../src/daemon/templates.js";
import { connectGuest } from "../../../src/guest/index.js";
import { complete, Slots } from "../../../src/kit/index.js";
import { ProcessService, SystemService } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import type { MountedImage } from "../../../src/vmm/index.js";
import { AgentRecord, fakeAgent } from "../../fakes/fake-agent.js";
import { FakeGuest } from "../../fakes/fake-guest.js";
import { FakeVmmDriver, type FakeVmmOptions } from "../../fakes/fake-vmm.js";
import { temporaryState } from "../../fakes/state-directory.js";

const HOLDER = fileURLToPath(new URL("../../fakes/fake-holder.mjs", import.meta.url));
const never = new AbortController().signal;
const request: RestoreRequest = {
  ...{ kind: "sandbox", vcpuCount: 1, memMib: 1, isolation: "software" },
  disks: () => Promise.resolve([{ path: "/dev/null", format: "raw", readOnly: false }]),
  diskBytes: [4096],
};

describe("A machine of a template", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  let guest: FakeGuest;
  let record: AgentRecord;
  let events: string[];
  const opened: Templates[] = [];

  beforeEach(async () => {
    state = await temporaryState();
    await mkdir(join(state.path, "vms"));
    events = [];
    record = new AgentRecord();
    const agent = fakeAgent(record);
    guest = await FakeGuest.start({
      routes: (router, session) => {
        agent.routes?.(router, session);
        router.service(SystemService, {
          setFrozen: ({ frozen }) => (record.calls.push(`frozen ${frozen}`), {}),
        });
        router.service(ProcessService, { list: () => ({}) });
      },
    });
  });
  afterEach(async () => {
    for (const templates of opened.splice(0)) await templates[Symbol.asyncDispose]();
    expect(await readdir(join(state.path, "vms"))).toEqual([]);
    await guest[Symbol.asyncDispose]();
    await state[Symbol.asyncDispose]();
  });

  function open(options: FakeVmmOptions = {}): { templates: Templates; driver: FakeVmmDriver } {
    const driver = new FakeVmmDriver({ guest: (socket) => guest.serve(socket), ...options });
    const note = (event: string, fields: { code?: string } = {}): void =>
      void events.push(`${event} ${fields.code ?? ""}`.trim());
    const log = { info: note, warn: note as never, error: note as never };
    const machines = new Machines({
      ...{ directory: join(state.path, "vms"), driver, slots: new Slots(1), log },
      connect: (socket) => connectGuest(socket),
    });
    const templates = new Templates({
      ...{ machines, driver, overlays: new Overlays(), inUse: new ImagesInUse(), log },
      directory: join(state.path, "templates"),
      bundle: () => Promise.resolve({ digest: "bundle 1", holderPath: HOLDER }),
    });
    opened.push(templates);
    return { templates, driver };
  }

  it("is restored; the first made the template by the way, with nothing mounted in it", async () => {
    const { templates, driver } = open();
    await using _first = await templates.start(request, never);
    await using _second = await templates.start(request, never);
    const [made] = driver.started;
    expect(driver.restored).toEqual(driver.started.slice(1).map(({ id }) => id));
    expect(driver.started).toHaveLength(3);
    // A copy of its own, and no file that would have to hold all that the guest's kernel clears.
    expect(made?.memoryFile).toMatch(/^\/proc\/\d+\/fd\/\d+$/);
    expect(record.calls).toEqual(["frozen true", "frozen false", "rehearse", "personalize pyro-"]);
    expect(events).toEqual(["template.made"]);
  });

  describe("with its environment mounted", () => {
    let image: MountedImage;
    const shape = { vcpuCount: 1, memMib: 1, isolation: "software", diskBytes: [4096] } as const;
    const begun: (string | undefined)[] = [];
    let fresh: RestoreRequest;
    beforeEach(async () => {
      begun.splice(0);
      image = { digest: "sha256:one", path: join(state.path, "image.qcow2"), createdAtMs: 86_400_000 };
      const args = ["create", "-q", "-f", "qcow2", image.path, "1M"];
      expect(await complete("qemu-img", args)).toMatchObject({ code: 0 });
      fresh = {
        ...request,
        environment: image,
        disks: (directory, layer) => {
          begun.push(layer?.subarray(0, 3).toString());
          return request.disks(directory);
        },
      };
    });
    const restoredLast = ({ driver }: { driver: FakeVmmDriver }): boolean =>
      driver.restored.includes(driver.started.at(-1)?.id ?? "");

    it("starts from the template without, until the one with it is made; others always do", async () => {
      const opening = open();
      const { templates, driver } = opening;
      await using _first = await templates.start(fresh, never);
      expect([driver.started.length, begun]).toEqual([2, [undefined]]);
      record.calls.splice(0);
      await templates.prepareAhead({ ...shape, mounted: image }, never);
      // Nobody's names, of the time when the image was made; the writes are on the disk before it is saved.
      expect(record.calls).toEqual([
        ...["personalize pyro-", "mount /dev/vda", "hold writes", "let writes go", "rehearse"],
      ]);
      await using second = await templates.start(fresh, never);
      await using _third = await templates.start(request, never);
      expect([begun, restoredLast(opening)]).toEqual([[undefined, "QFI"], true]);
      expect(second.savedAs).toBe(await templates.keyOf(shape));
      expect(events).toEqual(["template.made", "template.made"]);
    });

    it("starts from the one without where it cannot go on from the other, and that is given up", async () => {
      const opening = open();
      await opening.templates.prepareAhead({ ...shape, mounted: image }, never);
      const failing = open({ failing: "restore" });
      await using machine = await failing.templates.start(fresh, never);
      expect(await machine.machine.status()).toBe("running");
      expect(begun).toEqual(["QFI", undefined, undefined]);
      expect(events.slice(2)).toEqual([
        ...["template.not-restored VM_RESTORE_FAILED", "template.discarded VM_RESTORE_FAILED"],
        ...["template.not-restored VM_RESTORE_FAILED", "template.discarded VM_RESTORE_FAILED"],
      ]);
    });

    it("is not made for those who come later where that fails, and the log says why", async () => {
      const { templates } = open({ failing: "save" });
      await templates.prepareAhead({ ...shape, mounted: image }, never);
      expect(events).toEqual(["template.unavailable VM_SAVE_FAILED"]);
      await using _machine = await templates.start(fresh, never);
      expect(begun).toEqual([undefined]);
    });
  });

  it("is booted where nothing can be saved, and the reason stands in the log", async () => {
    const { templates, driver } = open({ failing: "save" });
    await using machine = await templates.start(request, never);
    expect(await machine.machine.status()).toBe("running");
    expect(driver.restored).toEqual([]);
    expect(events).toEqual(["template.unavailable VM_SAVE_FAILED"]);
  });

  it("is booted where it cannot be restored, and the template is given up", async () => {
    const { templates, driver } = open({ failing: "restore" });
    await using machine = await templates.start(request, never);
    expect(await machine.machine.status()).toBe("running");
    expect(driver.restored).toHaveLength(1);
    expect(events).toEqual([
      "template.made",
      "template.not-restored VM_RESTORE_FAILED",
      "template.discarded VM_RESTORE_FAILED",
    ]);
    expect(await readdir(join(state.path, "templates"))).toEqual(["lock"]);
  });

  it("is booted where the driver knows no memory snapshots", async () => {
    const { templates, driver } = open({ memorySnapshots: false });
    await using _machine = await templates.start(request, never);
    expect([driver.started.length, driver.restored.length, events.length]).toEqual([1, 0, 0]);
  });

  it("is made of another template once the VMM is another", async () => {
    await using _first = await open().templates.start(request, never);
    await using _second = await open({ build: "fake 2" }).templates.start(request, never);
    expect(events).toEqual(["template.made", "template.made", "template.stale"]);
  });

  it("is known to be quick before it is started, or not to be", async () => {
    const { templates } = open();
    const readiness = (of: Templates, isolation?: "software" | "kvm") => of.readiness(request, isolation);
    expect(await readiness(templates)).toBe("cold");
    await using _machine = await templates.start(request, never);
    expect([await readiness(templates), await readiness(templates, "kvm")]).toEqual(["warm", "cold"]);
    expect(await readiness(open({ build: "fake 2" }).templates, "software")).toBe("stale");
    expect(await readiness(open({ memorySnapshots: false }).templates)).toBe("cold");
  });

  it("is not started for a caller that has left, and no template is made then", async () => {
    const { templates, driver } = open();
    const signal = AbortSignal.timeout(1);
    await expect(templates.start(request, signal)).rejects.toThrow();
    await expect.poll(() => driver.started.length).toBeLessThanOrEqual(1);
    expect(driver.restored).toEqual([]);
  });
});
