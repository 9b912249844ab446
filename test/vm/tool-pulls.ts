/** An image of three programs in a registry of its own, and pulls of it into a state that has nothing of it. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import {
  CountingProxy,
  isRunning,
  startRegistry,
  tool,
  type Handed,
  type RealRegistry,
} from "../registry/real-registry.js";
import { violations } from "./invariants.js";
import { homeWith } from "./registry-images.js";
import { json, pyro, start, testState, type Result, type TestState } from "./support.js";

/** Busybox to run, and two of some megabytes to be ended within. */
export const PROGRAMS = ["/bin/busybox", "/usr/bin/umoci", "/usr/bin/skopeo"];

export interface Blob {
  readonly digest: string;
  readonly size: number;
}

/** What the image's manifest has. */
export interface ToolImage {
  /** In their order. */
  readonly layers: readonly Blob[];
  readonly config: Blob;
}

/** A registry that has it as team/tool:1. */
export interface ToolRegistry extends ToolImage, AsyncDisposable {
  readonly registry: RealRegistry;
}

export async function toolRegistry(): Promise<ToolRegistry> {
  const registry = await startRegistry();
  await registry.addImage("team/tool", "1", PROGRAMS);
  return {
    registry,
    ...(await describedTool(registry, "1")),
    [Symbol.asyncDispose]: async () => {
      await registry[Symbol.asyncDispose]();
      expect(await isRunning(registry.pid)).toBe(false);
    },
  };
}

export async function describedTool({ name }: RealRegistry, tag: string): Promise<ToolImage> {
  const location = `docker://${name}/team/tool:${tag}`;
  return JSON.parse(await tool("skopeo", "inspect", "--tls-verify=false", "--raw", location)) as ToolImage;
}

/** A state of its own, which reaches the registry through a proxy that counts. */
export class ToolPulls implements AsyncDisposable {
  private constructor(
    private readonly image: ToolImage,
    readonly proxy: CountingProxy,
    readonly state: TestState,
    private readonly home: AsyncDisposable,
  ) {}

  static async open(image: ToolRegistry): Promise<ToolPulls> {
    const state = await testState({ environments: false });
    const proxy = await CountingProxy.start(image.registry.name);
    return new ToolPulls(image, proxy, state, await homeWith([proxy.name]));
  }

  get reference(): string {
    return `${this.proxy.name}/team/tool:1`;
  }

  pull(...words: string[]): Promise<Result> {
    return this.start(...words).done;
  }

  start(...words: string[]): ReturnType<typeof start> {
    const name = words.length === 0 ? [this.reference] : words;
    return start(["env", "pull", ...name, "--json"], { stateDir: this.state.path });
  }

  /** Bytes of a blob that were handed on, in all answers. */
  fetched({ digest }: Blob): number {
    const answers = this.proxy.blobs.filter(({ path }) => path.endsWith(digest));
    return answers.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** How far the daemon has read a blob, for a network that is no faster: what a killed one had not read is not counted. */
  async read({ path }: Handed): Promise<number> {
    const layer = this.image.layers.find(({ digest }) => path.endsWith(digest));
    return layer === undefined ? Infinity : await this.partBytes(layer);
  }

  /** Of a blob that is not here whole, as the disk has it. */
  async partBytes({ digest }: Blob): Promise<number> {
    const path = join(this.state.path, "cache/oci/partial", digest.slice("sha256:".length));
    return (await stat(path).catch(() => undefined))?.size ?? 0;
  }

  /** Digests of the blobs that are here whole. */
  async whole(): Promise<string[]> {
    const names = await readdir(join(this.state.path, "cache/oci/blobs/sha256")).catch((): string[] => []);
    return names.map((name) => `sha256:${name}`);
  }

  /** Pulls it to its end and runs it. Gives how many bytes of each layer were fetched twice, all pulls together. */
  async goOn(expected: { readonly reused: boolean }): Promise<number[]> {
    const result = await this.pull();
    expect(result, result.stderr).toMatchObject({ code: 0 });
    expect(json(result)).toMatchObject(expected);
    const ran = await pyro(["run", this.reference, "--", "/bin/busybox", "echo", "it runs"], {
      stateDir: this.state.path,
    });
    expect([ran.stdout.toString(), ran.code], ran.stderr).toEqual(["it runs\n", 0]);
    await this.expectNothingLeft();
    return this.image.layers.map((layer) => this.fetched(layer) - layer.size);
  }

  /** The whole image is there and nothing else, once its daemon has left. */
  async expectNothingLeft(): Promise<void> {
    await pyro(["daemon", "stop", "--force"], { stateDir: this.state.path });
    const cache = join(this.state.path, "cache");
    expect(await readdir(join(cache, "pulls"))).toEqual([]);
    expect(await readdir(join(cache, "oci/partial"))).toEqual([]);
    // The manifest, the configuration and the layers.
    expect(await this.whole()).toHaveLength(2 + this.image.layers.length);
    expect(await violations(this.state.path)).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.state[Symbol.asyncDispose]();
    await this.home[Symbol.asyncDispose]();
    await this.proxy[Symbol.asyncDispose]();
  }
}
