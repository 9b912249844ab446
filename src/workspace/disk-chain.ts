import { link, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { exists, failpoint, freshId, sealFile, syncDirectory } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { allocatedBytes } from "./allocated.js";
import { factsOf } from "./disk-check.js";
import type { KeptRecord } from "./kept-record.js";
import type { SnapshotRecord, WorkspacePaths } from "./record.js";
import { sweepMemories } from "./snapshot-memory.js";
import { BASELINE } from "./snapshot-record.js";
import type { WorkspaceLayers, WorkspaceMachine, WorkspaceMachines } from "./workspace-machine.js";
import { workspaceFailed } from "./workspace-errors.js";

/**
 * The disk of a workspace: image, baseline, sealed layers, active layer. A snapshot is a name for the layers below the
 * active one at that time. The record says what the chain is; a step that is begun stands there first. Whoever calls
 * has the workspace's turn.
 */
export class DiskChain {
  constructor(
    private readonly paths: WorkspacePaths,
    private readonly kept: KeptRecord,
    private readonly machines: WorkspaceMachines,
  ) {}

  /**
   * The chain as it is.
   * @throws {PyroError} WORKSPACE_FAILED where none was made
   */
  get layers(): WorkspaceLayers {
    const { imageDigest, layers } = this.kept.now;
    if (imageDigest === null) throw workspaceFailed(this.kept.now);
    const { baseline, active } = this.paths;
    return { imageDigest, baseline, sealed: layers.map((layer) => this.fileOf(layer)), active };
  }

  /** Where a sealed layer is. */
  fileOf(layer: string): string {
    return join(this.paths.layers, `${layer}.qcow2`);
  }

  /**
   * Seals the active layer, which runs on in the machine, if there is one, over a new one; the snapshot, if there is to be
   * one, is a name for it. The snapshot is there once this resolves; when it rejects, or the daemon dies, it is whole or
   * gone, and what was written is there in either case.
   */
  async seal(
    snapshot: Pick<SnapshotRecord, "name" | "createdAtMs"> | null,
    machine?: Pick<WorkspaceMachine, "putLayer" | "topLayer">,
  ): Promise<void> {
    await this.settle(machine);
    const { layers } = this.kept.now;
    if (layers.length >= LIMITS.workspaceLayers) throw tooDeep(layers.length);
    const layer = freshId("layer");
    await this.kept.save({ sealing: { layer, snapshot } });
    failpoint("snapshot.recorded");
    try {
      await mkdir(this.paths.layers, { recursive: true, mode: 0o700 });
      await link(this.paths.active, this.fileOf(layer));
      failpoint("snapshot.linked");
      const above = { ...this.layers, sealed: [...this.layers.sealed, this.fileOf(layer)] };
      if (machine === undefined) await this.machines.renew(above);
      else await machine.putLayer({ ...above, active: this.paths.next }, layer);
      failpoint("snapshot.put");
    } catch (error) {
      // What cannot be told now is told before the disk is used again.
      await this.settle(machine, { keep: false }).catch(() => undefined);
      throw error;
    }
    await this.#finish({ keep: true });
  }

  /**
   * Finishes or undoes what an interrupted `seal` left; `machine` is the one that runs over it. Without a machine that
   * could tell where it wrote last, the new layer is taken: over the old one it reads the same, written to or empty. Such
   * a snapshot is not kept: the machine may have written to its layer until it ended.
   * @throws {PyroError} what the machine throws where it does not answer; nothing was changed then
   */
  async settle(
    machine?: Pick<WorkspaceMachine, "topLayer">,
    { keep }: { readonly keep: boolean } = { keep: true },
  ): Promise<void> {
    const { sealing } = this.kept.now;
    if (sealing === null) return;
    const { active, next } = this.paths;
    const sealed = await inodeOf(this.fileOf(sealing.layer));
    if (sealed !== undefined && (await inodeOf(active)) !== sealed) await this.#finish({ keep });
    else if (sealed === undefined || !(await exists(next))) await this.#undo();
    else if (machine === undefined) await this.#finish({ keep: false });
    else if ((await machine.topLayer()) === sealing.layer) await this.#finish({ keep });
    else await this.#undo();
  }

  async #finish({ keep }: { readonly keep: boolean }): Promise<void> {
    const { sealing, layers, snapshots } = this.kept.now;
    if (sealing === null) return;
    const { active, next } = this.paths;
    const sealed = this.fileOf(sealing.layer);
    if (await exists(next)) await rename(next, active);
    failpoint("snapshot.renamed");
    await sealFile(sealed);
    await syncDirectory(this.paths.layers);
    await syncDirectory(this.paths.directory);
    const chain = [...layers, sealing.layer];
    const named = keep ? sealing.snapshot : null;
    const facts = { layers: chain, bytes: await allocatedBytes(sealed), memory: null };
    await this.kept.save({
      layers: chain,
      sealedFiles: { ...this.kept.now.sealedFiles, [sealing.layer]: await factsOf(sealed) },
      snapshots: named === null ? snapshots : [...snapshots, { ...named, ...facts }],
      sealing: null,
    });
    failpoint("snapshot.finished");
  }

  /** The active layer is written to as before. */
  async #undo(): Promise<void> {
    const { sealing } = this.kept.now;
    await rm(this.paths.next, { force: true });
    if (sealing !== null) await rm(this.fileOf(sealing.layer), { force: true });
    await this.kept.save({ sealing: null });
  }

  /** Empties the active layer, over the layers that the record names; no machine may run on it. May be done twice. */
  async renew(): Promise<void> {
    await this.machines.renew(this.layers);
  }

  /** Removes what no chain needs. A layer that another workspace has too stays there: each has a name of its own. */
  async sweep(): Promise<void> {
    const { layers, snapshots, sealing } = this.kept.now;
    const needed = new Set([...layers, ...snapshots.flatMap((snapshot) => snapshot.layers), sealing?.layer]);
    const files = await readdir(this.paths.layers).catch(() => []);
    const { sealedFiles } = this.kept.now;
    const known = Object.entries(sealedFiles).filter(([name]) => name === BASELINE || needed.has(name));
    if (known.length < Object.keys(sealedFiles).length)
      await this.kept.save({ sealedFiles: Object.fromEntries(known) });
    const unneeded = files.filter((file) => !needed.has(basename(file, ".qcow2")));
    await Promise.all(unneeded.map((file) => rm(join(this.paths.layers, file), { force: true })));
    if (sealing === null) await rm(this.paths.next, { force: true });
    // What a renewal that was killed had made.
    const { active } = this.paths;
    const beside = (await readdir(dirname(active))).filter((file) => file.startsWith(`${basename(active)}.`));
    await Promise.all(beside.map((file) => rm(join(dirname(active), file), { force: true })));
    await sweepMemories(this.paths, snapshots);
  }

  /** Removes all of it. */
  async remove(): Promise<void> {
    const { baseline, active, next, layers, snapshots } = this.paths;
    await Promise.all(
      [baseline, active, next, layers, snapshots].map((path) => rm(path, { recursive: true, force: true })),
    );
  }
}

async function inodeOf(path: string): Promise<number | undefined> {
  return await stat(path).then(
    ({ ino }) => ino,
    () => undefined,
  );
}

function tooDeep(layers: number): PyroError {
  return new PyroError("SNAPSHOT_LIMIT", `the workspace's disk has ${layers} layers already`, {
    hint: `at most ${LIMITS.workspaceLayers}: each snapshot adds one; reset to an earlier snapshot, or create another workspace`,
  });
}
