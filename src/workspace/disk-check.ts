import { stat } from "node:fs/promises";
import { PyroError } from "../protocol/index.js";
import type { KeptRecord } from "./kept-record.js";
import type { WorkspaceRecord } from "./record.js";
import { BASELINE } from "./snapshot-record.js";
import type { WorkspaceDisks } from "./workspace-disks.js";
import type { WorkspaceLayers } from "./workspace-machine.js";

/** By which a sealed file shows that nobody wrote to it: its names and its owner may change, these do not. */
interface SealedFacts {
  readonly sizeBytes: number;
  readonly modifiedAtMs: number;
}

export async function factsOf(path: string): Promise<SealedFacts> {
  const { size, mtimeMs } = await stat(path);
  return { sizeBytes: size, modifiedAtMs: mtimeMs };
}

/** What stands between a disk that may be damaged and a machine. */
export class DiskProof {
  constructor(
    private readonly kept: KeptRecord,
    private readonly chain: { readonly layers: WorkspaceLayers },
    private readonly disks: WorkspaceDisks,
  ) {}

  /**
   * Before a machine is started over the disk: from now on it is in use.
   * @throws {PyroError} DISK_DAMAGED; everything stays as it is, and the record says why it does not start
   */
  async begin(signal: AbortSignal): Promise<void> {
    // What a reset has just made empty has nothing that could be damaged; of all else a look costs 10 ms.
    const { diskInUse, stoppedBy } = this.kept.now;
    await this.#require(diskInUse || stoppedBy !== "reset" ? "active" : "none", signal);
    await this.kept.save({ diskInUse: true });
  }

  /** Why a machine did not start over the disk, where that is the disk's fault; otherwise the error itself. */
  async explain(thrown: unknown, signal: AbortSignal): Promise<PyroError> {
    const error = PyroError.from(thrown);
    if (error.code === "ENVIRONMENT_DAMAGED")
      return await this.#quarantined(activeDamaged(this.kept.now, error.message, error));
    if (error.code !== "VM_START_FAILED") return error;
    return await this.#require("all", signal).then(
      () => error,
      (damage: unknown) => PyroError.from(damage),
    );
  }

  async #require(tablesOf: TablesOf, signal: AbortSignal): Promise<void> {
    const { now } = this.kept;
    await requireWholeDisk(now, this.chain.layers, this.disks, { tablesOf, signal }).catch(
      async (thrown: unknown) => {
        throw await this.#quarantined(PyroError.from(thrown));
      },
    );
  }

  async #quarantined(error: PyroError): Promise<PyroError> {
    const { code, message, hint } = error;
    if (code === "DISK_DAMAGED")
      await this.kept.save({ stoppedBy: "crash", diskInUse: true, failure: { code, message, hint } });
    return error;
  }
}

/** Of which layers the tables are checked, besides that sealed ones were not written to. */
type TablesOf = "none" | "active" | "all";

/**
 * Proves the layers of a workspace's disk before a machine lies on them: sealed ones are as they were sealed, the tables
 * of the active one are whole; where a start failed, those of all.
 * @throws {PyroError} DISK_DAMAGED; every file stays as it is
 */
async function requireWholeDisk(
  record: WorkspaceRecord,
  layers: WorkspaceLayers,
  disks: WorkspaceDisks,
  { tablesOf, signal }: { readonly tablesOf: TablesOf; readonly signal: AbortSignal },
): Promise<void> {
  const sealed = [
    { name: BASELINE, path: layers.baseline },
    ...record.layers.map((name, index) => ({ name, path: layers.sealed[index] ?? "" })),
  ];
  for (const { name, path } of sealed) {
    const was = record.sealedFiles[name];
    const is = await factsOf(path).catch(() => undefined);
    if (is === undefined) throw sealedDamaged(record, name, "its file is gone");
    // Of a version that did not note them.
    if (was === undefined) continue;
    if (is.sizeBytes !== was.sizeBytes || is.modifiedAtMs !== was.modifiedAtMs)
      throw sealedDamaged(record, name, "its file was changed after it was sealed");
  }
  if (tablesOf === "none") return;
  for (const { name, path } of tablesOf === "all" ? sealed : []) {
    const reason = await disks.check(path, signal);
    if (reason !== undefined) throw sealedDamaged(record, name, reason);
  }
  const reason = await disks.check(layers.active, signal);
  if (reason !== undefined) throw activeDamaged(record, reason);
}

function activeDamaged(
  { workspaceId, snapshots }: WorkspaceRecord,
  reason: string,
  cause?: unknown,
): PyroError {
  const last = snapshots.at(-1)?.name ?? BASELINE;
  return new PyroError(
    "DISK_DAMAGED",
    `the disk of workspace ${workspaceId} is damaged in what was written last: ${reason}`,
    {
      hint: `go back to what is whole: \`pyro workspace reset ${workspaceId} --snapshot ${last}\`; its files are kept until then, and \`pyro workspace disk export\` copies what can be read`,
      details: { layer: "active" },
      cause,
    },
  );
}

function sealedDamaged(record: WorkspaceRecord, layer: string, reason: string): PyroError {
  const { workspaceId } = record;
  // What does not need the layer is whole.
  const whole = [
    ...(layer === BASELINE ? [] : [BASELINE]),
    ...record.snapshots
      .filter(({ layers }) => layer !== BASELINE && !layers.includes(layer))
      .map(({ name }) => name),
  ];
  const what = layer === BASELINE ? "its baseline" : "a sealed layer";
  return new PyroError(
    "DISK_DAMAGED",
    `the disk of workspace ${workspaceId} is damaged in ${what}: ${reason}`,
    {
      hint:
        whole.length === 0
          ? `nothing of it is whole: \`pyro workspace disk export ${workspaceId}\` copies what can be read, then delete it`
          : `what is whole: \`pyro workspace reset ${workspaceId} --snapshot ${whole.at(-1) ?? BASELINE}\``,
      details: { layer },
    },
  );
}
