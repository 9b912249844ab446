import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { fingerprintOf, namesIn, readJsonFile, sameFingerprint, tryLock } from "../kit/index.js";
import type { HostPrograms } from "./host-tools.js";
import type { Catalogue } from "./catalogue.js";
import { imagePath, nameOfFile, safeName } from "./layout.js";
import { removeTree } from "./mmdebstrap.js";
import { knownName } from "./names.js";
import { assembledSchema, phaseFileSchema, type Manifest } from "./record.js";
import { SEALED_NOTE } from "./seal.js";
import type { EnvironmentStore } from "./store.js";

/** Pulls that nobody came back to are removed after this long. */
const PULL_KEPT_MS = 7 * 24 * 3600_000;
/** The disk that layers are unpacked into, in a pull's directory. */
export const UNPACKED = "unpacked.qcow2";
/** There: the layer with the packages, where they are installed over an image. */
export const INSTALLED = "installed.qcow2";

/**
 * Removes what killed pulls left and no later one can use; phases that are of use to a later pull stay.
 */
export async function sweepPulls(store: EnvironmentStore, host: HostPrograms): Promise<void> {
  const { layout, catalogue } = store;
  for (const entry of await namesIn(layout.pulls)) {
    const directory = join(layout.pulls, entry);
    // Another process, with a state of its own but this cache, may be at work there.
    await using lock = await tryLock(join(directory, "lock"));
    if (lock === undefined) continue;
    await removeTree(host, directory);
    const old = (await stat(directory)).mtimeMs < Date.now() - PULL_KEPT_MS;
    const pulled = (await store.manifests()).find(({ name }) => safeName(name) === entry);
    const isOf = pulled?.name ?? nameOfFile(entry);
    if (old || !canBePulled(catalogue, isOf) || (pulled !== undefined && (await isThere(store, pulled)))) {
      await rm(directory, { recursive: true, force: true });
    } else {
      await dropPartial(directory);
    }
  }
  for (const entry of await namesIn(layout.manifests)) {
    if (entry.endsWith(".tmp")) await rm(join(layout.manifests, entry), { force: true });
  }
}

function canBePulled(catalogue: Catalogue, name: string): boolean {
  try {
    return name.startsWith("~") || knownName(catalogue, name).name === name;
  } catch {
    return false;
  }
}

/** Whether the image is there, by its fingerprint: then a pull of it has nothing to go on with. */
async function isThere(store: EnvironmentStore, { digest, fingerprint }: Manifest): Promise<boolean> {
  const now = await fingerprintOf(imagePath(store.layout, digest)).catch(() => undefined);
  return now !== undefined && sameFingerprint(now, fingerprint);
}

/** Removes files of a pull's directory that no record speaks of: a phase that did not end starts over. */
export async function dropPartial(directory: string): Promise<void> {
  // The note of a tree (see mmdebstrap.ts) outlives the pull until the tree is gone.
  const keep = new Set([
    "lock",
    "tree-path",
    "fetched.json",
    "assembled.json",
    "unpacked.json",
    "installed.json",
    SEALED_NOTE,
  ]);
  const assembled = assembledSchema.safeParse(await readJsonFile(join(directory, "assembled.json"))).data;
  for (const layer of assembled?.layers ?? []) keep.add(layer.file);
  for (const [record, file] of [
    ["unpacked.json", UNPACKED],
    ["installed.json", INSTALLED],
  ] as const) {
    if (phaseFileSchema.safeParse(await readJsonFile(join(directory, record))).success) keep.add(file);
  }
  for (const entry of await namesIn(directory)) {
    if (!keep.has(entry)) await rm(join(directory, entry), { recursive: true, force: true });
  }
}
