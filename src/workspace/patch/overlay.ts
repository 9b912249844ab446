import { createHash } from "node:crypto";
import { LIMITS } from "../../protocol/index.js";
import { byteString, bytesOf, textOf, type ByteString } from "../../kit/index.js";
import type { TreeChange, TreeEntry, WorkspaceTree } from "./tree.js";

/** A file as it will be; content is read when somebody needs it. */
export interface PlannedFile {
  readonly mode: number;
  /** Undefined: that of the file at `origin`, never read. */
  readonly content: ByteString | undefined;
  /** Path of the file that it was at first; undefined: made by the patch. */
  readonly origin: ByteString | undefined;
}

/** Why a path cannot be patched, in words that follow its name. */
export class Refused extends Error {}

/** What the patch did to one path, for the record. */
export interface PatchEntry {
  readonly path: string;
  readonly change: "added" | "modified" | "deleted" | "renamed";
  /** Of renamed files: the old path. */
  readonly from?: string;
}

/** The tree with the patch's changes on top, in memory. */
export class Overlay {
  readonly #tree: WorkspaceTree;
  readonly #before = new Map<ByteString, TreeEntry | undefined>();
  readonly #contents = new Map<ByteString, ByteString>();
  readonly #after = new Map<ByteString, PlannedFile | undefined>();
  #heldBytes = 0;

  constructor(tree: WorkspaceTree) {
    this.#tree = tree;
  }

  /** What of a line may be shown in an error. */
  show(line: ByteString): ByteString {
    return this.#tree.show?.(line) ?? line;
  }

  /** The regular file as it stands after the changes so far; undefined: nothing there. */
  async file(path: ByteString): Promise<PlannedFile | undefined> {
    if (this.#after.has(path)) return this.#after.get(path);
    const entry = await this.#entry(path);
    if (entry === undefined) return undefined;
    if (entry.type !== "file")
      throw new Refused(`is ${KINDS[entry.type]}; a patch changes regular files only`);
    return { mode: entry.mode, content: undefined, origin: path };
  }

  /** Whether a regular file is there; never refuses. */
  async holds(path: ByteString): Promise<boolean> {
    if (this.#after.has(path)) return this.#after.get(path) !== undefined;
    return (await this.#entry(path))?.type === "file";
  }

  async content(file: PlannedFile): Promise<ByteString> {
    if (file.content !== undefined || file.origin === undefined) return file.content ?? "";
    return this.#original(file.origin);
  }

  set(path: ByteString, file: PlannedFile | undefined): void {
    this.#after.set(path, file);
  }

  /** Steps for FileService.Commit, and what they mean. */
  async plan(): Promise<{ changes: TreeChange[]; entries: PatchEntry[] }> {
    const paths = [...this.#after.keys()].sort();
    const [deletes, moves, rest]: TreeChange[][] = [[], [], []];
    const entries: PatchEntry[] = [];
    const moved = new Set(
      paths.filter((path) => this.#isMove(path)).map((path) => this.#after.get(path)?.origin ?? ""),
    );
    for (const path of paths) {
      const after = this.#after.get(path);
      const before = this.#before.get(path);
      if (after === undefined) {
        if (before === undefined || moved.has(path)) continue;
        const expectSha256 = sha256(await this.#original(path));
        deletes?.push({ kind: "delete", path: bytesOf(path), expectSha256 });
        entries.push({ path: textOf(path), change: "deleted" });
        continue;
      }
      const from = this.#isMove(path) ? after.origin : undefined;
      if (from !== undefined) moves?.push({ kind: "move", path: bytesOf(from), to: bytesOf(path) });
      const steps = await this.#steps(path, after, from);
      rest?.push(...steps);
      if (from !== undefined) entries.push({ path: textOf(path), change: "renamed", from: textOf(from) });
      else if (steps.length > 0) {
        entries.push({ path: textOf(path), change: before === undefined ? "added" : "modified" });
      }
    }
    return { changes: [...(deletes ?? []), ...(moves ?? []), ...(rest ?? [])], entries };
  }

  /** What is to be done to a file that stays, or that a move brought. */
  async #steps(path: ByteString, after: PlannedFile, from: ByteString | undefined): Promise<TreeChange[]> {
    const source = from ?? (this.#before.get(path) === undefined ? undefined : path);
    const { mode } = after;
    if (source === undefined)
      return [{ kind: "write", path: bytesOf(path), content: bytesOf(await this.content(after)), mode }];
    const modeChange: TreeChange[] =
      this.#before.get(source)?.mode === mode ? [] : [{ kind: "mode", path: bytesOf(path), mode }];
    if (after.content === undefined && after.origin === source) return modeChange;
    const [original, content] = [await this.#original(source), await this.content(after)];
    if (original === content) return modeChange;
    return [
      { kind: "write", path: bytesOf(path), content: bytesOf(content), mode, expectSha256: sha256(original) },
    ];
  }

  /** A file that came from a path where nothing is left, to one where nothing was. */
  #isMove(path: ByteString): boolean {
    const origin = this.#after.get(path)?.origin;
    if (origin === undefined || origin === path || this.#before.get(path) !== undefined) return false;
    return this.#after.has(origin) && this.#after.get(origin) === undefined;
  }

  async #entry(path: ByteString): Promise<TreeEntry | undefined> {
    if (!this.#before.has(path)) this.#before.set(path, await this.#tree.stat(bytesOf(path)));
    return this.#before.get(path);
  }

  async #original(path: ByteString): Promise<ByteString> {
    const known = this.#contents.get(path);
    if (known !== undefined) return known;
    const sizeBytes = (await this.#entry(path))?.sizeBytes ?? 0;
    if (sizeBytes > LIMITS.patchFileBytes) {
      throw new Refused(`is ${sizeBytes} bytes; a patch changes files of at most ${LIMITS.patchFileBytes}`);
    }
    if (this.#heldBytes + sizeBytes > LIMITS.patchTotalBytes) {
      throw new Refused(
        `is one file too many: a patch changes at most ${LIMITS.patchTotalBytes} bytes of files at once`,
      );
    }
    const content = byteString(await this.#tree.read(bytesOf(path), LIMITS.patchFileBytes));
    this.#heldBytes += content.length;
    this.#contents.set(path, content);
    return content;
  }
}

const KINDS = {
  directory: "a directory",
  symlink: "a symbolic link",
  other: "a device, pipe or socket",
} as const;

function sha256(content: ByteString): Uint8Array {
  return createHash("sha256").update(bytesOf(content)).digest();
}
