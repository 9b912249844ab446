import { byteString, type ByteString } from "../../kit/index.js";
import type { ChangedPath, EntryState } from "./changed.js";

/** A change with its rename, if it is one. */
export interface PlannedChange {
  readonly path: ByteString;
  /** Of renamed files: where the same bytes lay. */
  readonly from?: ByteString;
  readonly before?: EntryState;
  readonly after?: EntryState;
  readonly modeOnly: boolean;
}

/**
 * The changes in byte order of their paths: a deleted and an added file of the same bytes become one rename (empty
 * files are too alike for that), and directories that only came or went with what lies in them are left out.
 */
export function planChanges(changes: readonly ChangedPath[]): PlannedChange[] {
  const named = changes.map((change) => ({ path: byteString(change.path), change }));
  named.sort((left, right) => (left.path < right.path ? -1 : left.path > right.path ? 1 : 0));
  const renames = pairRenames(named);
  const sources = new Set(renames.values());
  const parents = parentsOf(named.map(({ path }) => path));
  const planned: PlannedChange[] = [];
  for (const { path, change } of named) {
    const { before, after } = change;
    const from = renames.get(change);
    if (sources.has(change)) continue;
    if (from !== undefined) {
      planned.push({ path, from: byteString(from.path), modeOnly: false, ...states(from.before, after) });
      continue;
    }
    const wholeDirectory =
      (before === undefined && after?.type === "directory") ||
      (after === undefined && before?.type === "directory");
    if (!(wholeDirectory && parents.has(path)))
      planned.push({ path, modeOnly: change.modeOnly, ...states(before, after) });
  }
  return planned;
}

function states(
  before: EntryState | undefined,
  after: EntryState | undefined,
): Pick<PlannedChange, "before" | "after"> {
  return { ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
}

function parentsOf(paths: readonly ByteString[]): ReadonlySet<ByteString> {
  const parents = new Set<ByteString>();
  for (const path of paths) {
    for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
      const parent = path.slice(0, end);
      if (parents.has(parent)) break;
      parents.add(parent);
    }
  }
  return parents;
}

interface Named {
  readonly path: ByteString;
  readonly change: ChangedPath;
}

/** Deleted files of the same bytes. */
class SameBytes {
  readonly #all: Named[] = [];
  readonly #byName = new Map<ByteString, Named[]>();
  readonly #taken = new Set<Named>();
  #next = 0;

  add(named: Named): void {
    this.#all.push(named);
    const name = nameOf(named.path);
    const known = this.#byName.get(name);
    if (known === undefined) this.#byName.set(name, [named]);
    else known.push(named);
  }

  takeNamed(name: ByteString): Named | undefined {
    const named = this.#byName.get(name)?.shift();
    if (named !== undefined) this.#taken.add(named);
    return named;
  }

  takeAny(): Named | undefined {
    for (let named = this.#all[this.#next]; named !== undefined; named = this.#all[this.#next]) {
      this.#next++;
      if (!this.#taken.has(named)) return named;
    }
    return undefined;
  }
}

/** Added file → deleted file of the same bytes: those that keep their name first, then in order of the paths. */
function pairRenames(changes: readonly Named[]): Map<ChangedPath, ChangedPath> {
  const deleted = new Map<string, SameBytes>();
  for (const named of changes) {
    const { before, after, beforeSha256 } = named.change;
    if (after !== undefined || !isContent(before) || beforeSha256 === undefined) continue;
    const key = byteString(beforeSha256);
    const group = deleted.get(key) ?? new SameBytes();
    group.add(named);
    deleted.set(key, group);
  }
  const renames = new Map<ChangedPath, ChangedPath>();
  for (const sameName of [true, false]) {
    for (const { path, change } of changes) {
      const { before, after, afterSha256 } = change;
      if (before !== undefined || !isContent(after) || afterSha256 === undefined || renames.has(change))
        continue;
      const group = deleted.get(byteString(afterSha256));
      const source = sameName ? group?.takeNamed(nameOf(path)) : group?.takeAny();
      if (source !== undefined) renames.set(change, source.change);
    }
  }
  return renames;
}

function isContent(state: EntryState | undefined): boolean {
  return state?.type === "file" && state.sizeBytes > 0;
}

function nameOf(path: ByteString): ByteString {
  return path.slice(path.lastIndexOf("/") + 1);
}
