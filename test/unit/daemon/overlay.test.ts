import { readFile, writeFile } from "node:fs/promises";
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
  it("is the same whether qemu-img made it or its bytes are written again", async () => {
    const overlays = new Overlays();
    const [first, second] = [join(state.path, "first"), join(state.path, "second")];
    const backing = { path: image, format: "qcow2" };
    expect(await overlays.make(image, first)).toEqual({
      path: first,
      format: "qcow2",
      readOnly: false,
      backing,
    });
    expect(await overlays.make(image, second)).toMatchObject({ path: second, backing });
    expect((await readFile(second)).equals(await readFile(first))).toBe(true);
    expect(await complete("qemu-img", ["check", "-q", "-f", "qcow2", second])).toMatchObject({ code: 0 });
  });

  it("replaces no file, and says why it cannot be made", async () => {
    const overlays = new Overlays();
    await overlays.make(image, join(state.path, "first"));
    await writeFile(join(state.path, "taken"), "mine");
    await expect(overlays.make(image, join(state.path, "taken"))).rejects.toMatchObject({
      code: "VM_START_FAILED",
    });
    expect(await readFile(join(state.path, "taken"), "utf8")).toBe("mine");
    await expect(
      new Overlays().make(join(state.path, "no image"), join(state.path, "x")),
    ).rejects.toMatchObject({
      code: "VM_START_FAILED",
    });
  });
});
