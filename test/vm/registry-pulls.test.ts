import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../src/protocol/index.js";
import { FAILPOINTS, prefixOf } from "../failpoints.js";
import {
  CountingProxy,
  isRunning,
  startRegistry,
  tool,
  type RealRegistry,
} from "../registry/real-registry.js";
import { violations } from "./invariants.js";
import { homeWith } from "./registry-images.js";
import {
  daemonWithFailpoint,
  eventually,
  json,
  machinesOf,
  pyro,
  testState,
  type TestState,
} from "./support.js";

/** Busybox to run, and two of some megabytes to be killed within. */
const PROGRAMS = ["/bin/busybox", "/usr/bin/umoci", "/usr/bin/skopeo"];

interface Blob {
  readonly digest: string;
  readonly size: number;
}

let registry: RealRegistry;
let proxy: CountingProxy;
let home: AsyncDisposable;
let state: TestState;
/** The layers of team/tool:1, in their order, and its configuration. */
let layers: readonly Blob[];
let config: Blob;
let reference: string;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.addImage("team/tool", "1", PROGRAMS);
  ({ layers, config } = await described("1"));
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  expect(await isRunning(registry.pid)).toBe(false);
});
beforeEach(async () => {
  state = await testState({ environments: false });
  proxy = await CountingProxy.start(registry.name);
  home = await homeWith([proxy.name]);
  reference = `${proxy.name}/team/tool:1`;
});
afterEach(async () => {
  await state[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
});

async function described(tag: string): Promise<{ layers: Blob[]; config: Blob }> {
  const location = `docker://${registry.name}/team/tool:${tag}`;
  return JSON.parse(await tool("skopeo", "inspect", "--tls-verify=false", "--raw", location)) as {
    layers: Blob[];
    config: Blob;
  };
}

const pull = (name = reference) => pyro(["env", "pull", name, "--json"], { stateDir: state.path });

/** Bytes of a blob that were handed on, in all answers. */
const fetched = ({ digest }: Blob): number =>
  proxy.blobs.filter(({ path }) => path.endsWith(digest)).reduce((sum, { bytes }) => sum + bytes, 0);

/** The whole image is there and nothing else, once its daemon has left. */
async function expectNothingLeft(): Promise<void> {
  await pyro(["daemon", "stop", "--force"], { stateDir: state.path });
  const cache = join(state.path, "cache");
  expect(await readdir(join(cache, "pulls"))).toEqual([]);
  expect(await readdir(join(cache, "oci/partial"))).toEqual([]);
  // The manifest, the configuration and the layers.
  expect(await readdir(join(cache, "oci/blobs/sha256"))).toHaveLength(2 + layers.length);
  expect(await violations(state.path)).toEqual([]);
}

describe("a pull whose daemon is killed", () => {
  const POINTS = [
    ...FAILPOINTS.filter((name) => prefixOf(name) === "image"),
    ...["pull.unpacked", "pull.converted", "pull.renamed"],
  ];
  /** The two layers of some megabytes: it is in the middle of them. */
  const WITHIN = [1, 2];

  /** How many bytes of each layer were fetched twice, once another pull has been through. */
  async function goOn(expected: { readonly reused: boolean }): Promise<number[]> {
    const result = await pull();
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(json(result)).toMatchObject(expected);
    const ran = await pyro(["run", reference, "--", "/bin/busybox", "echo", "it runs"], {
      stateDir: state.path,
    });
    expect([ran.stdout.toString(), ran.code], ran.stderr).toEqual(["it runs\n", 0]);
    await expectNothingLeft();
    return layers.map((layer) => fetched(layer) - layer.size);
  }

  it("is killed at eleven points in these tests", () => {
    expect(POINTS.length + WITHIN.length + 1).toBe(11);
  });

  it.each(POINTS)("at %s is done by the next, and fetches nothing twice", async (point) => {
    const daemon = await daemonWithFailpoint(state.path, point);
    const lost = await pull();
    expect(await daemon.gone).toBe("SIGKILL");
    expect(lost.code).not.toBe(0);
    const twice = await goOn({ reused: point === "image.sealed" });
    expect(twice).toEqual(layers.map(() => 0));
    expect(fetched(config)).toBe(config.size);
  });

  it("while the layers are unpacked leaves no machine, and unpacks them again", async () => {
    const daemon = await daemonWithFailpoint(state.path, "none");
    const lost = pull();
    // It starts before the last layer is here.
    await eventually("the layers are here", async () => {
      const blobs: string[] = await readdir(join(state.path, "cache/oci/blobs/sha256")).catch(() => []);
      return layers.every(({ digest }) => blobs.includes(digest.slice("sha256:".length)));
    });
    await eventually("the builder runs", async () => (await machinesOf(state.path)).length > 0);
    process.kill(daemon.pid, "SIGKILL");
    expect(await daemon.gone).toBe("SIGKILL");
    expect((await lost).code).not.toBe(0);
    expect(await goOn({ reused: false })).toEqual(layers.map(() => 0));
  });

  it.each(WITHIN)(
    "in the middle of layer %i goes on there, and fetches at most one chunk twice",
    async (index) => {
      const { digest, size } = layers[index] ?? { digest: "", size: 0 };
      expect(size).toBeGreaterThan(2 * LIMITS.registryProgressBytes);
      // A network no faster than the daemon: what it had not read yet is not counted.
      proxy.arrived = async ({ path }) => {
        const name = path.split("sha256:")[1] ?? "";
        const partial = await stat(join(state.path, "cache/oci/partial", name)).catch(() => undefined);
        const isLayer = layers.some((layer) => path.endsWith(layer.digest));
        return isLayer ? (partial?.size ?? 0) : Infinity;
      };
      // No failpoint has this name: it is killed from here.
      const daemon = await daemonWithFailpoint(state.path, "none");
      const reached = new Promise<void>((resolve) => {
        proxy.onBytes = ({ path, from, bytes }) => {
          if (path.endsWith(digest) && from + bytes >= size / 2) resolve();
        };
      });
      const lost = pull();
      await Promise.race([reached, lost]);
      process.kill(daemon.pid, "SIGKILL");
      expect(await daemon.gone).toBe("SIGKILL");
      expect((await lost).code).not.toBe(0);
      const twice = await goOn({ reused: false });
      console.log(`killed within layer ${index} of ${size} bytes; fetched twice: ${twice.join(", ")}`);
      const answers = proxy.blobs.filter(({ path }) => path.endsWith(digest));
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
    const results = await Promise.all(Array.from({ length: 10 }, () => pull()));
    expect(results.map(({ code }) => code)).toEqual(results.map(() => 0));
    const digests = results.map((result) => (json(result)["environment"] as { digest: string }).digest);
    expect(new Set(digests).size).toBe(1);
    expect(proxy.blobs.map(({ path }) => path).sort()).toEqual(
      [...new Set(proxy.blobs.map(({ path }) => path))].sort(),
    );
    expect(proxy.blobs).toHaveLength(1 + layers.length);
    expect([config, ...layers].map(fetched)).toEqual([config, ...layers].map(({ size }) => size));
    await expectNothingLeft();
  });

  it("fetch of another image only what they do not share", async () => {
    expect((await pull()).code).toBe(0);
    await registry.addImage("team/tool", "2", [...PROGRAMS, "/etc/debian_version"]);
    const other = await described("2");
    expect(other.layers.slice(0, layers.length)).toEqual(layers);
    const before = proxy.blobs.length;
    const pulled = await pull(`${proxy.name}/team/tool:2`);
    expect(pulled, pulled.stderr).toMatchObject({ code: 0 });
    const [rest] = other.layers.slice(layers.length);
    const bytes = proxy.blobs.slice(before).reduce((sum, each) => sum + each.bytes, 0);
    const whole = other.layers.reduce((sum, { size }) => sum + size, 0);
    console.log(`a second image of ${whole} bytes cost ${bytes}`);
    expect(proxy.blobs.slice(before)).toHaveLength(2);
    expect(bytes).toBe((rest?.size ?? 0) + other.config.size);
  });
});
