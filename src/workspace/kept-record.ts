import { saveRecord, type WorkspacePaths, type WorkspaceRecord } from "./record.js";

/** A workspace's record: what it says now, and what the disk says of it, which follows in the order of the changes. */
export class KeptRecord {
  #now: WorkspaceRecord;
  #saving: Promise<void> = Promise.resolve();
  #removed = false;

  constructor(
    private readonly paths: WorkspacePaths,
    record: WorkspaceRecord,
    private readonly clock: () => number,
  ) {
    this.#now = record;
  }

  get now(): WorkspaceRecord {
    return this.#now;
  }

  /** Whether its workspace is deleted. */
  get isClosed(): boolean {
    return this.#removed;
  }

  /** Changes it, in memory at once and on disk in the order of the calls. */
  async save(change: Partial<WorkspaceRecord>): Promise<void> {
    const record = { ...this.#now, ...change };
    this.#now = record;
    const saved = this.#saving.then(async () => {
      // Of one that is deleted nothing is written any more.
      if (!this.#removed) await saveRecord(this.paths, record);
    });
    this.#saving = saved.catch(() => undefined);
    await saved;
  }

  /** What moves its last activity to now. */
  touched(): Pick<WorkspaceRecord, "lastActivityAtMs"> {
    return { lastActivityAtMs: this.clock() };
  }

  /** From now on nothing is written; resolves when nothing is being written any more. */
  async close(): Promise<void> {
    this.#removed = true;
    await this.#saving;
  }
}
