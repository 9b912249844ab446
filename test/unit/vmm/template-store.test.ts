import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sleep, tryLock } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { TemplateStore, type TemplateShape, type TemplateStoreOptions } from "../../../src/vmm/index.js";
import { HELD_MAX } from "../../../src/vmm/templates/held.js";
import { LAYER_BYTES_MAX } from "../../../src/vmm/templates/layer.js";
import { TEMPLATES_MAX } from "../../../src/vmm/templates/shelf.js";
import { temporaryState } from "../../fakes/state-directory.js";

const HOLDER = fileURLToPath(new URL("../../fakes/fake-holder.mjs", import.meta.url));
const shape: TemplateShape = { vcpuCount: 1, memMib: 1, diskBytes: [4096], isolation: "software" };
const never = new AbortController().signal;

describe("The template store", () => {
  let state: Awaited<ReturnType<typeof temporaryState>>;
  let directory: string;
  let built: number;
  let events: string[];
  const stores: TemplateStore[] = [];

  beforeEach(async () => {
    state = await temporaryState();
    directory = join(state.path, "templates");
    built = 0;
    events = [];
  });
  afterEach(async () => {
    for (const store of stores.splice(0)) await store[Symbol.asyncDispose]();
    expect(unfinished()).toEqual([]);
    expect(holders()).toEqual([]);
    await state[Symbol.asyncDispose]();
  });

  const note = (event: string, { code = "" }: { code?: string } = {}): void =>
    void events.push(`${event} ${code}`.trim());

  /** A store as a new daemon would open it. */
  function open(more: Partial<TemplateStoreOptions> = {}): TemplateStore {
    const store = new TemplateStore({
      directory,
      holderPath: () => Promise.resolve(HOLDER),
      ground: () => Promise.resolve({ vmm: "qemu 1", bundleDigest: "bundle 1" }),
      build: async ({ mounted: image }, { memoryFile, stateFile, layerFile }, _signal, base) => {
        built += 1;
        expect(statSync(memoryFile).size).toBe(1024 ** 2);
        expect(base === undefined).toBe(image === undefined);
        if (image !== undefined) await writeFile(layerFile, `layer ${built} over ${image.digest}`);
        await writeFile(memoryFile, `memory ${built}`, { flag: "r+" });
        await writeFile(stateFile, `state ${built}`);
      },
      log: { info: note, warn: note, error: note },
      ...more,
    });
    stores.push(store);
    return store;
  }

  const unfinished = (): string[] =>
    existsSync(directory) ? readdirSync(directory).filter((name) => name.startsWith("making-")) : [];
  const templates = (): string[] => readdirSync(directory).filter((name) => name.length === 64);
  const holders = (): string[] =>
    readdirSync("/proc").filter((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(directory);
      } catch {
        return false;
      }
    });
  const fileOf = (name: string): string => join(directory, templates()[0] ?? "", name);

  it("makes a template once, for all who ask at once and later", async () => {
    const store = open();
    const [first, second] = await Promise.all([store.require(shape, never), store.require(shape, never)]);
    const third = await store.require(shape, never);
    expect(built).toBe(1);
    expect([first.fresh, second.fresh, third.fresh]).toEqual([true, true, false]);
    expect(second.saved).toEqual(third.saved);
    expect(await readFile(third.saved.stateFile, "utf8")).toBe("state 1");
    expect(statSync(fileOf("memory")).mode & 0o777).toBe(0o400);
    expect(holders()).toHaveLength(1);
  });

  it("proves what another daemon made, and takes it", async () => {
    await open().require(shape, never);
    const template = await open().require(shape, never);
    expect([built, template.fresh]).toEqual([1, false]);
    expect(events).toEqual(["template.made"]);
  });

  it.each(["memory", "state", "manifest.json"])(
    "makes a template anew whose %s was changed",
    async (name) => {
      await open().require(shape, never);
      chmodSync(fileOf(name), 0o600);
      if (name === "state") await appendFile(fileOf(name), "x");
      else await writeFile(fileOf(name), "X", { flag: "r+" });
      const template = await open().require(shape, never);
      expect(await readFile(template.saved.stateFile, "utf8")).toBe("state 2");
      expect(events).toEqual(["template.made", "template.damaged TEMPLATE_DAMAGED", "template.made"]);
    },
  );

  it("removes the template of the same shape that an older QEMU made, and no other", async () => {
    await open().require(shape, never);
    await open().require({ ...shape, memMib: 1, vcpuCount: 2 }, never);
    const ground = () => Promise.resolve({ vmm: "qemu 2", bundleDigest: "bundle 1" });
    await open({ ground }).require(shape, never);
    expect(built).toBe(3);
    expect(templates()).toHaveLength(2);
    expect(events.at(-1)).toBe("template.stale");
  });

  it("says whether one stands that serves a shape, whether only an older one does, or none", async () => {
    const ready = (store: TemplateStore, more: Partial<TemplateShape> = {}) =>
      store.readiness({ ...shape, ...more });
    expect(await ready(open())).toBe("cold");
    (await open().require(shape, never))[Symbol.dispose]();
    expect(await ready(open())).toBe("warm");
    expect(await ready(open(), { memMib: 2 })).toBe("cold");
    const upgraded = open({ ground: () => Promise.resolve({ vmm: "qemu 2", bundleDigest: "bundle 1" }) });
    expect(await ready(upgraded)).toBe("stale");
    (await upgraded.require(shape, never))[Symbol.dispose]();
    expect([await ready(upgraded), await ready(open())]).toEqual(["warm", "stale"]);
    // Cut short, which needs no reading to see.
    chmodSync(fileOf("state"), 0o600);
    writeFileSync(fileOf("state"), "");
    expect(
      await ready(open({ ground: () => Promise.resolve({ vmm: "qemu 2", bundleDigest: "bundle 1" }) })),
    ).toBe("cold");
  });

  it("refuses a directory that others can write to", async () => {
    mkdirSync(directory);
    chmodSync(directory, 0o777);
    await expect(open().require(shape, never)).rejects.toMatchObject({
      code: "TEMPLATE_NOT_PRIVATE",
      hint: expect.stringContaining(directory) as string,
    });
    chmodSync(directory, 0o700);
    await open().require(shape, never);
    chmodSync(fileOf(""), 0o777);
    await expect(open().require(shape, never)).rejects.toMatchObject({ code: "TEMPLATE_NOT_PRIVATE" });
  });

  it("ends a build when the last who waits for it leaves, not before", async () => {
    let aborted = false;
    const build = async (_shape: unknown, _files: unknown, signal: AbortSignal): Promise<void> => {
      await sleep(10_000, signal).finally(() => (aborted = signal.aborted));
    };
    const store = open({ build });
    const [first, second] = [new AbortController(), new AbortController()];
    const waits = [store.require(shape, first.signal), store.require(shape, second.signal)];
    await expect.poll(unfinished).toHaveLength(1);
    first.abort(new Error("the first left"));
    await expect(waits[0]).rejects.toThrow("the first left");
    expect(aborted).toBe(false);
    second.abort(new Error("the second left"));
    await expect(waits[1]).rejects.toThrow("the second left");
    expect(aborted).toBe(true);
    expect(unfinished()).toEqual([]);
  });

  it("does not try again at once what failed", async () => {
    const build = (): Promise<void> => {
      built += 1;
      return Promise.reject(new PyroError("VM_SAVE_FAILED", "no", { hint: "none" }));
    };
    const store = open({ build });
    await expect(store.require(shape, never)).rejects.toMatchObject({ code: "VM_SAVE_FAILED" });
    await expect(store.require(shape, never)).rejects.toMatchObject({ code: "VM_SAVE_FAILED" });
    expect(built).toBe(1);
  });

  it("makes a template anew that no machine could be restored from, and rests after the second", async () => {
    const store = open();
    const error = new PyroError("VM_RESTORE_FAILED", "no", { hint: "none" });
    await store.discard(await store.require(shape, never), error);
    expect(holders()).toEqual([]);
    await store.discard(await store.require(shape, never), error);
    await expect(store.require(shape, never)).rejects.toBe(error);
    expect(built).toBe(2);
    expect(templates()).toEqual([]);
  });

  it("takes a template anew whose holder was killed", async () => {
    const store = open();
    await store.require(shape, never);
    process.kill(Number(holders()[0]), "SIGKILL");
    await expect.poll(holders).toEqual([]);
    await expect
      .poll(async () => await readFile((await store.require(shape, never)).saved.stateFile, "utf8"))
      .toBe("state 1");
    expect(built).toBe(1);
  });

  it("calls a template damaged when the holder fails or talks nonsense", async () => {
    const broken = join(state.path, "broken");
    writeFileSync(broken, "#!/bin/sh\necho nonsense\n");
    chmodSync(broken, 0o755);
    const holderPath = () => Promise.resolve(broken);
    await expect(open({ holderPath }).require(shape, never)).rejects.toMatchObject({
      code: "TEMPLATE_DAMAGED",
    });
  });

  it("does not blame a template for a host without memory: it stays, and serves as soon as there is some", async () => {
    await open().require(shape, never);
    const full = join(state.path, "full");
    writeFileSync(full, "#!/bin/sh\necho 'pyro-hold: no memory' >&2\nexit 3\n");
    chmodSync(full, 0o755);
    await expect(
      open({ holderPath: () => Promise.resolve(full) }).require(shape, never),
    ).rejects.toMatchObject({
      code: "MEMORY_FULL",
      retryable: true,
      message: "this host has no memory for a machine's memory: pyro-hold: no memory",
    });
    await open().require(shape, never);
    expect(built).toBe(1);
  });

  it("counts as one failure what several met who had the same template", async () => {
    const store = open();
    const error = new PyroError("VM_RESTORE_FAILED", "no", { hint: "none" });
    const [one, other] = [await store.require(shape, never), await store.require(shape, never)];
    await store.discard(one, error);
    expect(existsSync(other.saved.stateFile)).toBe(true);
    const successor = await store.require(shape, never);
    await store.discard(other, error);
    expect((await store.require(shape, never)).saved).toEqual(successor.saved);
    await expect.poll(holders).toHaveLength(1);
    expect(events.filter((event) => event.startsWith("template.discarded"))).toHaveLength(1);
  });

  it("is made anew for somebody who insists, and stays where that fails", async () => {
    const store = open();
    const first = await store.require(shape, never);
    using second = await store.prepare(shape, true, never);
    expect([second.fresh, await readFile(second.saved.stateFile, "utf8")]).toEqual([true, "state 2"]);
    expect(await readFile(first.saved.stateFile, "utf8")).toBe("state 1");
    first[Symbol.dispose]();
    await expect.poll(holders).toHaveLength(1);
    const failing = open({ build: () => Promise.reject(new Error("no")) });
    await expect(failing.prepare(shape, true, never)).rejects.toThrow("no");
    expect(await readFile((await failing.require(shape, never)).saved.stateFile, "utf8")).toBe("state 2");
  });

  it("is tried for somebody who asks for it, though it failed a moment ago", async () => {
    let full = true;
    const build: TemplateStoreOptions["build"] = async (_shape, { stateFile }) => {
      if (full) throw new PyroError("DISK_FULL", "no", { hint: "none" });
      await writeFile(stateFile, "state");
    };
    const store = open({ build });
    await expect(store.require(shape, never)).rejects.toMatchObject({ code: "DISK_FULL" });
    full = false;
    await expect(store.require(shape, never)).rejects.toMatchObject({ code: "DISK_FULL" });
    expect((await store.prepare(shape, false, never)).fresh).toBe(true);
    expect((await store.require(shape, never)).fresh).toBe(false);
  });

  describe("with an environment mounted", () => {
    const imageOf = (digest: string) => ({ digest, path: `/images/${digest}`, createdAtMs: 1 });
    const mounted: TemplateShape = { ...shape, mounted: imageOf("sha256:one") };

    it("is only found where it was made, and what starts from it is saved as what starts without", async () => {
      const store = open();
      expect(await store.find(mounted, never)).toBeUndefined();
      expect([built, existsSync(directory)]).toEqual([0, false]);
      using made = await store.require(mounted, never);
      using plain = await store.require(shape, never);
      expect([built, made.fresh, made.layer?.toString()]).toEqual([2, true, "layer 2 over sha256:one"]);
      expect([made.savedAs, plain.savedAs, plain.layer]).toEqual([plain.key, plain.key, undefined]);
      expect(made.key).not.toBe(plain.key);
      expect(await store.keyOf(shape)).toBe(plain.key);
      using found = await store.find(mounted, never);
      expect([found?.saved, built]).toEqual([made.saved, 2]);
      const next = open();
      using foundLater = await next.find(mounted, never);
      expect([foundLater?.layer, foundLater?.fresh, built]).toEqual([made.layer, false, 2]);
      expect(await next.find({ ...shape, mounted: imageOf("sha256:other") }, never)).toBeUndefined();
      expect(statSync(join(directory, made.key, "layer")).mode & 0o777).toBe(0o400);
    });

    it.each(["memory", "state", "layer", "manifest.json"])(
      "is not found any more once its %s was changed, and is made anew for who asks",
      async (name) => {
        (await open().require(mounted, never))[Symbol.dispose]();
        const key = templates().find((each) => existsSync(join(directory, each, "layer"))) ?? "";
        const file = join(directory, key, name);
        chmodSync(file, 0o600);
        await writeFile(file, "X", { flag: "r+" });
        const store = open();
        expect(await store.find(mounted, never)).toBeUndefined();
        expect(events.slice(2)).toEqual(["template.damaged TEMPLATE_DAMAGED"]);
        using made = await store.require(mounted, never);
        expect([built, made.layer?.toString()]).toEqual([3, "layer 3 over sha256:one"]);
      },
    );

    it("is not waited for while somebody makes one", async () => {
      (await open().require(mounted, never))[Symbol.dispose]();
      await using _lock = await tryLock(join(directory, "lock"));
      expect(await open().find(mounted, never)).toBeUndefined();
    });

    it("goes with its image, also out of memory, and nothing else does", async () => {
      const store = open();
      for (const digest of ["sha256:one", "sha256:two"])
        (await store.require({ ...shape, mounted: imageOf(digest) }, never))[Symbol.dispose]();
      const stands = (digest: string) => Promise.resolve(digest === "sha256:two");
      expect(await store.removeOrphans(stands, never)).toHaveLength(1);
      expect(templates()).toHaveLength(2);
      expect(await store.find(mounted, never)).toBeUndefined();
      expect(await store.find({ ...shape, mounted: imageOf("sha256:two") }, never)).toBeDefined();
      await expect.poll(holders).toHaveLength(2);
    });

    it("of another QEMU is removed when its successor is made", async () => {
      (await open().require(mounted, never))[Symbol.dispose]();
      const ground = () => Promise.resolve({ vmm: "qemu 2", bundleDigest: "bundle 1" });
      const upgraded = open({ ground });
      expect(await upgraded.find(mounted, never)).toBeUndefined();
      (await upgraded.require(mounted, never))[Symbol.dispose]();
      expect([templates().length, built]).toEqual([2, 4]);
    });

    it("is refused where its layer is larger than a mount makes it", async () => {
      const build: TemplateStoreOptions["build"] = async (of, { stateFile, layerFile }) => {
        await writeFile(stateFile, "state");
        if (of.mounted !== undefined) await writeFile(layerFile, Buffer.alloc(LAYER_BYTES_MAX + 1));
      };
      await expect(open({ build }).require(mounted, never)).rejects.toMatchObject({ code: "VM_SAVE_FAILED" });
      expect(templates()).toHaveLength(1);
    });
  });

  describe("bounds what its templates occupy:", () => {
    const shapes = (count: number): TemplateShape[] =>
      Array.from({ length: count }, (_, index) => ({ ...shape, vcpuCount: index + 1 }));
    const stateOf = async (store: TemplateStore, of: TemplateShape): Promise<string> => {
      using template = await store.require(of, never);
      return await readFile(template.saved.stateFile, "utf8");
    };

    it("the least recently used leaves memory, and is taken in again when it is asked for", async () => {
      const store = open();
      const all = shapes(HELD_MAX + 1);
      const [first, second] = all as [TemplateShape, TemplateShape];
      for (const each of all.slice(0, HELD_MAX)) (await store.require(each, never))[Symbol.dispose]();
      await stateOf(store, first);
      for (const each of all.slice(HELD_MAX)) (await store.require(each, never))[Symbol.dispose]();
      await expect.poll(holders).toHaveLength(HELD_MAX);
      const held = holders();
      expect(await stateOf(store, first)).toBe("state 1");
      expect(holders()).toEqual(held);
      expect(await stateOf(store, second)).toBe("state 2");
      expect(holders()).not.toEqual(held);
      expect(built).toBe(all.length);
    });

    it("what is lent stays, and goes when it is given back", async () => {
      const store = open();
      const lent = await Promise.all(shapes(HELD_MAX + 2).map((each) => store.require(each, never)));
      expect(holders()).toHaveLength(HELD_MAX + 2);
      const first = lent[0];
      expect(await readFile(first?.saved.stateFile ?? "", "utf8")).toContain("state");
      first?.[Symbol.dispose]();
      first?.[Symbol.dispose]();
      await expect.poll(holders).toHaveLength(HELD_MAX + 1);
      for (const template of lent) template[Symbol.dispose]();
      await expect.poll(holders).toHaveLength(HELD_MAX);
    });

    it("the least recently used leaves the disk when a new one is placed, also under the next daemon", async () => {
      const all = shapes(TEMPLATES_MAX + 1);
      const [first, second] = all as [TemplateShape, TemplateShape];
      const store = open();
      for (const each of all.slice(0, TEMPLATES_MAX)) (await store.require(each, never))[Symbol.dispose]();
      await store[Symbol.asyncDispose]();
      expect(templates()).toHaveLength(TEMPLATES_MAX);
      const next = open();
      await stateOf(next, first);
      (await next.require(all.at(-1) as TemplateShape, never))[Symbol.dispose]();
      expect(templates()).toHaveLength(TEMPLATES_MAX);
      expect(events.at(-1)).toBe("template.surplus");
      await next[Symbol.asyncDispose]();
      expect(await stateOf(open(), first)).toBe("state 1");
      expect(built).toBe(all.length);
      expect(await stateOf(open(), second)).toBe(`state ${all.length + 1}`);
    });
  });

  it("waits for a builder of another process, and removes what one left unfinished", async () => {
    mkdirSync(join(directory, "making-left"), { recursive: true, mode: 0o700 });
    const store = open();
    await store.sweep();
    const lock = await tryLock(join(directory, "lock"));
    const waiting = store.require(shape, never);
    await sleep(150);
    expect(built).toBe(0);
    await lock?.[Symbol.asyncDispose]();
    await waiting;
    expect(built).toBe(1);
  });
});
