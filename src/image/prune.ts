import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { allocatedBytes, namesIn } from "../kit/index.js";
import { imagePath, nameOfFile, safeName } from "./layout.js";
import type { EnvironmentSource } from "./record.js";
import type { EnvironmentStore } from "./store.js";

export interface PruneOptions {
  /**
   * Also environments that were pulled and that nothing uses; otherwise only leftovers and images that no environment names.
   * What was made on this host goes by its name alone (`deleteEnvironment`).
   */
  readonly unused: boolean;
  /** Of those, only what was used last, or made and never used, before this; ms since 1970. */
  readonly usedBeforeMs?: number;
  /** Only tells what would be removed. */
  readonly dryRun?: boolean;
  /** Digests of images that a machine or a workspace uses; these stay whatever else is asked for. */
  readonly inUse: ReadonlySet<string>;
  /** Names of environments that are being pulled; what belongs to them stays. */
  readonly pulling: ReadonlySet<string>;
}

export interface PruneResult {
  /** Environments, image digests and "packages" or "pull of NAME". */
  readonly removed: readonly string[];
  readonly freedBytes: number;
}

/** Frees the space that nothing uses. What is removed can be pulled again. */
export async function pruneEnvironments(
  store: EnvironmentStore,
  options: PruneOptions,
): Promise<PruneResult> {
  const { unused, usedBeforeMs = Infinity, dryRun = false } = options;
  const removed: string[] = [];
  let freedBytes = 0;
  const drop = async (path: string, label: string | undefined): Promise<void> => {
    freedBytes += await diskBytes(path);
    if (!dryRun) await rm(path, { recursive: true, force: true });
    if (label !== undefined) removed.push(label);
  };

  const named = new Set<string>();
  for (const { name, digest, source, created_at_ms: createdAtMs } of await store.manifests()) {
    const kept = options.inUse.has(digest) || options.pulling.has(name) || !isPulled(source);
    const isOld = ((await store.lastUse.of(name)) ?? createdAtMs) < usedBeforeMs;
    if (unused && !kept && isOld) {
      if (!dryRun) await store.removeManifest(name);
      removed.push(name);
    } else {
      named.add(digest);
    }
  }
  await pruneManifests(store, drop);
  if (!dryRun) await store.lastUse.sweep((await store.manifests()).map(({ name }) => name));
  for (const entry of await namesIn(store.layout.images)) {
    const digest = entry.replace(/^sha256-([0-9a-f]{64})\.qcow2$/, "sha256:$1");
    if (named.has(digest) || options.inUse.has(digest)) continue;
    // Without `unused`, an image may have lost its environment to a torn manifest: it is a leftover all the same.
    await drop(digest === entry ? join(store.layout.images, entry) : imagePath(store.layout, digest), digest);
  }
  const pulling = new Set([...options.pulling].map(safeName));
  for (const entry of await namesIn(store.layout.pulls)) {
    if (!pulling.has(entry)) await drop(join(store.layout.pulls, entry), `pull of ${nameOfFile(entry)}`);
  }
  if (pulling.size === 0 && (await namesIn(store.layout.packages)).length > 0) {
    await drop(store.layout.packages, "packages");
  }
  return { removed, freedBytes };
}

/** What was made on this host cannot be had again: its user removes it by name. */
function isPulled(source: EnvironmentSource): boolean {
  return source === "curated" || source === "image";
}

/** Removes files among the manifests that are none. */
async function pruneManifests(
  store: EnvironmentStore,
  drop: (path: string, label: string | undefined) => Promise<void>,
): Promise<void> {
  const valid = new Set((await store.manifests()).map(({ name }) => `${safeName(name)}.json`));
  for (const entry of await namesIn(store.layout.manifests)) {
    if (!valid.has(entry)) await drop(join(store.layout.manifests, entry), undefined);
  }
}

/** Bytes that a file or a tree occupies on disk. */
async function diskBytes(path: string): Promise<number> {
  const entry = await stat(path).catch(() => undefined);
  if (entry === undefined) return 0;
  if (!entry.isDirectory()) return allocatedBytes(entry);
  let sum = allocatedBytes(entry);
  for (const name of await namesIn(path).catch(() => [])) sum += await diskBytes(join(path, name));
  return sum;
}
