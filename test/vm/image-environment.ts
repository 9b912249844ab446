/** Environments of images, made without a registry: a tree of the test's own, unpacked in a real builder VM and sealed. */
import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { EnvironmentStore, HostPrograms, layoutOf, loadCatalogue, sealImage } from "../../src/image/index.js";
import { makeCacheDirectory } from "../../src/image/layout.js";
import type { Manifest } from "../../src/image/record.js";
import type { TestState } from "./support.js";
import { testBuilder, testMachines } from "./test-builder.js";

const run = promisify(execFile);
const NEVER = new AbortController().signal;

/** What an image says, as its manifest has it. */
export type TestConfig = NonNullable<Manifest["config"]>;

/**
 * Puts environments into the cache of a state, as pulls would: one disk, whose files are root's, under each of the names.
 * @param tree a directory of the host
 */
export async function addEnvironments(
  state: TestState,
  tree: string,
  configs: Readonly<Record<string, TestConfig>>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "pyro-image-"));
  try {
    await chmod(directory, 0o711);
    const layer = join(directory, "layer.tar");
    await run("tar", ["-C", tree, "--owner=0", "--group=0", "--numeric-owner", "-cf", layer, "."]);
    const target = join(directory, "image.qcow2");
    const usedBytes = await unpack(directory, layer, target);
    for (const [name, config] of Object.entries(configs)) {
      await seal(join(state.path, "cache"), { name, config, target, usedBytes });
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function unpack(directory: string, layer: string, target: string): Promise<number> {
  const vms = join(directory, "vms");
  await makeCacheDirectory(vms);
  await using machines = testMachines(vms);
  const builder = testBuilder(machines);
  await builder.makeDisk(target);
  const layers = [{ path: layer, sizeBytes: (await stat(layer)).size }];
  return (
    await builder.build({
      files: layers.map(({ path }) => path),
      layers: () => Promise.resolve(layers),
      target,
      steps: [],
    })
  ).usedBytes;
}

async function seal(
  cache: string,
  image: {
    readonly name: string;
    readonly config: TestConfig;
    readonly target: string;
    readonly usedBytes: number;
  },
): Promise<void> {
  const layout = layoutOf(cache);
  const scratch = join(layout.pulls, "test");
  for (const path of [layout.images, layout.manifests, scratch]) await makeCacheDirectory(path);
  const catalogue = await loadCatalogue(join(import.meta.dirname, "../../environments"));
  await sealImage({
    store: new EnvironmentStore(catalogue, layout),
    host: new HostPrograms(),
    // Several are made of it.
    from: { path: image.target, by: "copy" },
    usedBytes: image.usedBytes,
    directory: scratch,
    manifest: {
      ...{ name: image.name, source: "build", recipe: "of a test", packages: [] },
      config: image.config,
    },
    signal: NEVER,
    onProgress: () => undefined,
  });
  await rm(scratch, { recursive: true });
}
