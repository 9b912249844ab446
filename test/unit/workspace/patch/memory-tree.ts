import { createHash } from "node:crypto";
import type { TreeChange, TreeEntry, WorkspaceTree } from "../../../../src/workspace/patch/index.js";

/** Paths and contents are byte strings (latin1), so that any bytes can be written down. */
export interface MemoryFile {
  readonly content: string;
  readonly mode: number;
}
export type MemoryFiles = Readonly<Record<string, string | MemoryFile>>;

const bytes = (value: string): Uint8Array => Buffer.from(value, "latin1");
const name = (value: Uint8Array): string => Buffer.from(value).toString("latin1");
export const sha256 = (content: string): Uint8Array => createHash("sha256").update(bytes(content)).digest();

/** A workspace in memory that makes commits as strictly as the guest does. */
export class MemoryTree implements WorkspaceTree {
  readonly files = new Map<string, MemoryFile>();
  readonly others = new Map<string, TreeEntry>();
  reads = 0;

  constructor(files: MemoryFiles, others: Readonly<Record<string, TreeEntry>> = {}) {
    for (const [path, file] of Object.entries(files)) {
      this.files.set(path, typeof file === "string" ? { content: file, mode: 0o644 } : file);
    }
    for (const [path, entry] of Object.entries(others)) this.others.set(path, entry);
  }

  stat(path: Uint8Array): Promise<TreeEntry | undefined> {
    const file = this.files.get(name(path));
    if (file === undefined) return Promise.resolve(this.others.get(name(path)));
    return Promise.resolve({ type: "file", sizeBytes: file.content.length, mode: file.mode });
  }

  read(path: Uint8Array, maxBytes: number): Promise<Uint8Array> {
    this.reads++;
    const file = this.files.get(name(path));
    if (file === undefined || file.content.length > maxBytes) throw new Error(`cannot read ${name(path)}`);
    return Promise.resolve(bytes(file.content));
  }

  commit(changes: readonly TreeChange[]): void {
    for (const change of changes) this.#step(change);
  }

  #step(change: TreeChange): void {
    const path = name(change.path);
    const file = this.files.get(path);
    if (change.kind === "write") {
      this.#expect(path, change.expectSha256);
      this.files.set(path, { content: name(change.content), mode: change.mode ?? file?.mode ?? 0o644 });
      return;
    }
    if (file === undefined) throw new Error(`${change.kind} of ${path}, which is not there`);
    if (change.kind === "mode") this.files.set(path, { ...file, mode: change.mode });
    if (change.kind === "delete") this.#expect(path, change.expectSha256);
    if (change.kind === "delete" || change.kind === "move") this.files.delete(path);
    if (change.kind !== "move") return;
    if (this.files.has(name(change.to))) throw new Error(`move onto ${name(change.to)}`);
    this.files.set(name(change.to), file);
  }

  #expect(path: string, sha: Uint8Array | undefined): void {
    const file = this.files.get(path);
    const same =
      file === undefined
        ? sha === undefined
        : sha !== undefined && Buffer.from(sha256(file.content)).equals(sha);
    if (!same) throw new Error(`${path} is not what was expected`);
  }

  /** Path → content, with the mode where it is not 0644. */
  snapshot(): Record<string, string> {
    const entries = [...this.files].map(([path, { content, mode }]): [string, string] => [
      mode === 0o644 ? path : `${path} ${mode.toString(8)}`,
      content,
    ]);
    return Object.fromEntries(entries.sort(([left], [right]) => (left < right ? -1 : 1)));
  }
}
