import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../src/protocol/index.js";
import { FAILPOINTS, prefixOf } from "../failpoints.js";
import { daemonWithFailpoint, eventually, json, machinesOf } from "./support.js";
import {
  describedTool,
  PROGRAMS,
  ToolPulls,
  toolRegistry,
  type Blob,
  type ToolRegistry,
} from "./tool-pulls.js";

let image: ToolRegistry;
let pulls: ToolPulls;

beforeAll(async () => {
  image = await toolRegistry();
});
afterAll(() => image[Symbol.asyncDispose]());
beforeEach(async () => {
  pulls = await ToolPulls.open(image);
});
afterEach(() => pulls[Symbol.asyncDispose]());

describe("a pull whose daemon is killed", () => {
  const POINTS = [
    ...FAILPOINTS.filter((name) => prefixOf(name) === "image"),
    ...["pull.unpacked", "pull.hashed", "pull.renamed"],
  ];
  /** The two layers of some megabytes: it is in the middle of them. */
  const WITHIN = [1, 2];

  it("is killed at eleven points in these tests", () => {
    expect(POINTS.length + WITHIN.length + 1).toBe(11);
  });

  it.each(POINTS)("at %s is done by the next, and fetches nothing twice", async (point) => {
    const daemon = await daemonWithFailpoint(pulls.state.path, point);
    const lost = await pulls.pull();
    expect(await daemon.gone).toBe("SIGKILL");
    expect(lost.code).not.toBe(0);
    const twice = await pulls.goOn({ reused: point === "image.sealed" });
    expect(twice).toEqual(image.layers.map(() => 0));
    expect(pulls.fetched(image.config)).toBe(image.config.size);
  });

  it("while the layers are unpacked leaves no machine, and unpacks them again", async () => {
    const daemon = await daemonWithFailpoint(pulls.state.path, "none");
    const lost = pulls.pull();
    // It starts before the last layer is here.
    await eventually("the layers are here", async () => {
      const here = await pulls.whole();
      return image.layers.every((layer) => here.includes(layer.digest));
    });
    await eventually("the builder runs", async () => (await machinesOf(pulls.state.path)).length > 0);
    process.kill(daemon.pid, "SIGKILL");
    expect(await daemon.gone).toBe("SIGKILL");
    expect((await lost).code).not.toBe(0);
    expect(await pulls.goOn({ reused: false })).toEqual(image.layers.map(() => 0));
  });

  it.each(WITHIN)(
    "in the middle of layer %i goes on there, and fetches at most one chunk twice",
    async (index) => {
      const { digest, size } = image.layers[index] as Blob;
      expect(size).toBeGreaterThan(2 * LIMITS.registryProgressBytes);
      pulls.proxy.arrived = (handed) => pulls.read(handed);
      // No failpoint has this name: it is killed from here.
      const daemon = await daemonWithFailpoint(pulls.state.path, "none");
      const reached = new Promise<void>((resolve) => {
        pulls.proxy.onBytes = ({ path, from, bytes }) => {
          if (path.endsWith(digest) && from + bytes >= size / 2) resolve();
        };
      });
      const lost = pulls.pull();
      await Promise.race([reached, lost]);
      process.kill(daemon.pid, "SIGKILL");
      expect(await daemon.gone).toBe("SIGKILL");
      expect((await lost).code).not.toBe(0);
      const twice = await pulls.goOn({ reused: false });
      console.log(`killed within layer ${index} of ${size} bytes; fetched twice: ${twice.join(", ")}`);
      const answers = pulls.proxy.blobs.filter(({ path }) => path.endsWith(digest));
      expect(answers).toHaveLength(2);
      // It did go on, rather than begin again.
      expect(answers[1]?.from).toBeGreaterThan(size / 4);
      expect(Math.max(...twice)).toBeLessThanOrEqual(LIMITS.registryProgressBytes);
      expect(Math.min(...twice)).toBeGreaterThanOrEqual(0);
    },
  );
});

describe("pulls through one daemon", () => {
  it("download once, where ten come at once", async () => {
    const results = await Promise.all(Array.from({ length: 10 }, () => pulls.pull()));
    expect(results.map(({ code }) => code)).toEqual(results.map(() => 0));
    const digests = results.map((result) => (json(result)["environment"] as { digest: string }).digest);
    expect(new Set(digests).size).toBe(1);
    expect(pulls.proxy.blobs.map(({ path }) => path).sort()).toEqual(
      [...new Set(pulls.proxy.blobs.map(({ path }) => path))].sort(),
    );
    const all = [image.config, ...image.layers];
    expect(pulls.proxy.blobs).toHaveLength(all.length);
    expect(all.map((blob) => pulls.fetched(blob))).toEqual(all.map(({ size }) => size));
    await pulls.expectNothingLeft();
  });

  it("fetch of another image only what they do not share", async () => {
    expect((await pulls.pull()).code).toBe(0);
    const { registry, layers } = image;
    await registry.addImage("team/tool", "2", [...PROGRAMS, "/etc/debian_version"]);
    const other = await describedTool(registry, "2");
    expect(other.layers.slice(0, layers.length)).toEqual(layers);
    const before = pulls.proxy.blobs.length;
    const pulled = await pulls.pull(`${pulls.proxy.name}/team/tool:2`);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    const [rest] = other.layers.slice(layers.length);
    const bytes = pulls.proxy.blobs.slice(before).reduce((sum, each) => sum + each.bytes, 0);
    const whole = other.layers.reduce((sum, { size }) => sum + size, 0);
    console.log(`a second image of ${whole} bytes cost ${bytes}`);
    expect(pulls.proxy.blobs.slice(before)).toHaveLength(2);
    expect(bytes).toBe((rest?.size ?? 0) + other.config.size);
  });
});
