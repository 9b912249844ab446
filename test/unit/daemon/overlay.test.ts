import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Overlays } from "../../../src/daemon/overlay.js";
import { complete } from "../../../src/kit/index.js";
import { temporaryState } from "../../fakes/state-directory.js";

let state: Awaited<ReturnType<typeof temporaryState>>;
let image: string;

beforeEach(async () => {
  state = await temporaryState();
  image = join(state.path, "image.qcow2");
  expect(await complete("qemu-img", ["create", "-q", "-f", "qcow2", image, "1M"])).toMatchObject({ code: 0 });
});

afterEach(async () => {
  await state[Symbol.asyncDispose]();
});

describe("an overlay", () => {
  const over = (path: string) => ({ path, format: "qcow2" }) as const;

  it("is the same whether qemu-img made it or its bytes are written again", async () => {
    const overlays = new Overlays();
    const [first, second] = [join(state.path, "first"), join(state.path, "second")];
    const backing = over(image);
    expect(await overlays.make(backing, first)).toEqual({
      path: first,
      format: "qcow2",
      readOnly: false,
      backing,
    });
    expect(await overlays.make(backing, second)).toMatchObject({ path: second, backing });
    expect((await readFile(second)).equals(await readFile(first))).toBe(true);
    expect(await complete("qemu-img", ["check", "-q", "-f", "qcow2", second])).toMatchObject({ code: 0 });
  });

  it.each([
    ["a longer name", "an-image-of-a-longer-name.qcow2"],
    ["a shorter one", "i"],
    ["one that is not ASCII", "naïve.qcow2"],
  ])("names what is below it, also by %s than the first", async (_, name) => {
    const other = join(state.path, name);
    await rename(image, other);
    const overlays = new Overlays();
    await overlays.make(over(other), join(state.path, "first of it"));
    await rename(other, image);
    await overlays.make(over(image), join(state.path, "second"));
    await new Overlays().make(over(image), join(state.path, "by qemu-img"));
    const bytesOf = (file: string) => readFile(join(state.path, file));
    expect((await bytesOf("second")).equals(await bytesOf("by qemu-img"))).toBe(true);
  });

  it("states the format of what is below, whatever the first one lay on", async () => {
    const raw = { path: join(state.path, "raw"), format: "raw" } as const;
    await writeFile(raw.path, Buffer.alloc(512));
    const overlays = new Overlays();
    for (const backing of [over(image), raw, over(image), raw]) {
      const path = join(state.path, `overlay ${Math.random()}`);
      await overlays.make(backing, path);
      const { stdout } = await complete("qemu-img", ["info", "--output=json", path]);
      expect(JSON.parse(stdout)).toMatchObject({ "backing-filename-format": backing.format });
    }
  });

  it("lies over one whose name is too long for a header by an error of qemu-img's, not by half a name", async () => {
    const overlays = new Overlays();
    await overlays.make(over(image), join(state.path, "first"));
    const long = join(state.path, ...Array<string>(8).fill("d".repeat(200)), "image");
    await expect(overlays.make(over(long), join(state.path, "second"))).rejects.toMatchObject({
      code: "VM_START_FAILED",
    });
  });

  it("replaces no file, and says why it cannot be made", async () => {
    const overlays = new Overlays();
    await overlays.make(over(image), join(state.path, "first"));
    await writeFile(join(state.path, "taken"), "mine");
    await expect(overlays.make(over(image), join(state.path, "taken"))).rejects.toMatchObject({
      code: "VM_START_FAILED",
    });
    expect(await readFile(join(state.path, "taken"), "utf8")).toBe("mine");
    await expect(
      new Overlays().make(over(join(state.path, "no image")), join(state.path, "x")),
    ).rejects.toMatchObject({ code: "VM_START_FAILED" });
  });
});
