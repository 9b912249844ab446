import { describe, expect, it } from "vitest";
import {
  diffFiles,
  summarize,
  type ChangedPath,
  type DiffContents,
  type DiffEntry,
  type EntryState,
} from "../../../../src/workspace/diff/index.js";
import { textHunks } from "../../../../src/workspace/diff/hunks.js";
import { applyPatch } from "../../../../src/workspace/patch/index.js";
import { MemoryTree, sha256, type MemoryFile } from "../patch/memory-tree.js";
import { changesBetween, contentsOf, type Files } from "./random-trees.js";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const file = (content: string, mode = 0o644): MemoryFile => ({ content, mode });
const filesOf = (files: Readonly<Record<string, MemoryFile | string>>): Files =>
  new Map(
    Object.entries(files).map(([path, value]) => [path, typeof value === "string" ? file(value) : value]),
  );

async function diff(
  before: Readonly<Record<string, MemoryFile | string>>,
  after: Readonly<Record<string, MemoryFile | string>>,
): Promise<{ entries: DiffEntry[]; patch: string; reads: string[] }> {
  const [old, now] = [filesOf(before), filesOf(after)];
  const contents = contentsOf(old, now);
  return { ...(await collect(changesBetween(old, now), contents)), reads: contents.seen };
}

async function collect(
  changes: readonly ChangedPath[],
  contents: DiffContents,
): Promise<{ entries: DiffEntry[]; patch: string }> {
  const entries: DiffEntry[] = [];
  let patch = "";
  for await (const part of diffFiles(changes, contents)) {
    entries.push(part.entry);
    patch += Buffer.from(part.patch).toString("latin1");
  }
  return { entries, patch };
}

const noContents: DiffContents = { read: () => Promise.reject(new Error("nothing was to be read")) };
const state = (type: EntryState["type"], more: Partial<EntryState> = {}): EntryState => ({
  type,
  sizeBytes: 0,
  mode: 0o755,
  ...more,
});
const link = (target: string): EntryState => state("symlink", { linkTarget: bytes(target), mode: 0o777 });
const changed = (path: string, before?: EntryState, after?: EntryState): ChangedPath => ({
  path: bytes(path),
  modeOnly: false,
  ...(before === undefined ? {} : { before }),
  ...(after === undefined ? {} : { after }),
});

describe("a diff's text", () => {
  it("shows a changed text file as git does", async () => {
    const { patch, entries } = await diff(
      { "src/a b.txt": "1\n2\n3\n4\n5\n" },
      { "src/a b.txt": "1\n2\nx\n4\n5" },
    );
    expect(patch).toBe(
      [
        "diff --git a/src/a b.txt b/src/a b.txt",
        "--- a/src/a b.txt\t",
        "+++ b/src/a b.txt\t",
        "@@ -1,5 +1,5 @@",
        " 1",
        " 2",
        "-3",
        "+x",
        " 4",
        "-5",
        "+5",
        "\\ No newline at end of file",
        "",
      ].join("\n"),
    );
    expect(entries).toEqual([
      {
        path: "src/a b.txt",
        change: "modified",
        artifactType: "file",
        oldMode: "0644",
        newMode: "0644",
        sizeBefore: 10,
        sizeAfter: 9,
        binary: false,
        tooLarge: false,
        invalidUtf8: false,
        insertions: 2,
        deletions: 2,
      },
    ]);
  });

  it("shows new, deleted, empty and executable files", async () => {
    const { patch } = await diff({ gone: "1\n", empty: "" }, { made: "1\n2\n", "run.sh": file("", 0o755) });
    expect(patch).toBe(
      [
        ...["diff --git a/empty b/empty", "deleted file mode 100644"],
        ...[
          "diff --git a/gone b/gone",
          "deleted file mode 100644",
          "--- a/gone",
          "+++ /dev/null",
          "@@ -1 +0,0 @@",
          "-1",
        ],
        ...[
          "diff --git a/made b/made",
          "new file mode 100644",
          "--- /dev/null",
          "+++ b/made",
          "@@ -0,0 +1,2 @@",
          "+1",
          "+2",
        ],
        ...["diff --git a/run.sh b/run.sh", "new file mode 100755", ""],
      ].join("\n"),
    );
  });

  it("gives one line to what text cannot carry", async () => {
    const { patch, entries } = await collect(
      [
        changed("dir/new", undefined, state("directory")),
        changed("dir/old", state("directory"), undefined),
        changed("dir/mode", state("directory"), state("directory", { mode: 0o700 })),
        changed("link/new", undefined, link("../target")),
        changed("link/moved", link("a"), link("b\n\xe2\x80\xae")),
        changed("link/old", link("a"), undefined),
        changed("pipe", undefined, state("other")),
        changed("type", link("a"), state("file", { sizeBytes: 3 })),
      ],
      noContents,
    );
    expect(patch.split("\n")).toEqual([
      "# mode changed: dir/mode (0755 -> 0700)",
      "# directory added: dir/new",
      "# directory deleted: dir/old",
      '# symlink modified: link/moved -> a, now -> "b\\n\\342\\200\\256"',
      "# symlink added: link/new -> ../target",
      "# symlink deleted: link/old -> a",
      "# special file added: pipe",
      "# type changed: type (symlink -> a, now file)",
      "",
    ]);
    expect(entries.map(({ path, change, artifactType }) => [path, change, artifactType])).toEqual([
      ["dir/mode", "modified", "directory"],
      ["dir/new", "added", "directory"],
      ["dir/old", "deleted", "directory"],
      ["link/moved", "modified", "symlink"],
      ["link/new", "added", "symlink"],
      ["link/old", "deleted", "symlink"],
      ["pipe", "added", "other"],
      ["type", "modified", "file"],
    ]);
    expect(entries[3]).toMatchObject({ linkTargetBefore: "a", linkTargetAfter: "b\n\u202e" });
    expect(entries[7]).toMatchObject({ oldArtifactType: "symlink" });
  });

  it("names binary and large files with their sizes, and reads no more of them than it must", async () => {
    const large = "x\n".repeat(600_000);
    const { patch, entries, reads } = await diff(
      { "a.bin": "\0old", "b.txt": large, "c.bin": file("text\n"), "d.bin": "\0" },
      { "a.bin": "\0newer", "b.txt": `${large}y\n`, "c.bin": file("\0", 0o755), "e.bin": "\0\0" },
    );
    expect(patch.split("\n")).toEqual([
      "# binary modified: a.bin (4 -> 6 bytes)",
      "# too large to show, modified: b.txt (1200000 -> 1200002 bytes)",
      "diff --git a/c.bin b/c.bin",
      "old mode 100644",
      "new mode 100755",
      "# binary modified: c.bin (5 -> 1 bytes)",
      "# binary deleted: d.bin (1 bytes)",
      "# binary added: e.bin (2 bytes)",
      "",
    ]);
    expect(summarize(entries)).toEqual({
      added: 1,
      modified: 3,
      deleted: 1,
      renamed: 0,
      binary: 4,
      insertions: 0,
      deletions: 0,
    });
    expect(entries[1]).toMatchObject({ tooLarge: true, binary: false });
    expect(reads.filter((read) => read.includes("b.txt"))).toEqual(["before b.txt 8000", "after b.txt 8000"]);
  });

  it("takes a file that grew past the bound after it was listed for a large one", async () => {
    const changes = [changed("n", undefined, state("file", { sizeBytes: 10 }))];
    const { patch } = await collect(changes, {
      read: () => Promise.resolve(Buffer.alloc(1024 * 1024 + 1, 97)),
    });
    expect(patch).toBe("# too large to show, added: n (10 bytes)\n");
  });

  it("tells of permission bits that git does not know", async () => {
    const { patch, reads } = await diff(
      { n: file("1\n", 0o600), m: file("1\n", 0o600) },
      { n: "1\n", m: file("1\n", 0o700) },
    );
    expect(patch).toBe(
      "diff --git a/m b/m\nold mode 100644\nnew mode 100755\n# mode changed: n (0600 -> 0644)\n",
    );
    expect(reads).toEqual([]);
  });

  it("keeps bytes that are no UTF-8, and says so", async () => {
    const { patch, entries } = await diff({ n: "caf\xe9\n" }, { n: "caf\xe9!\n" });
    expect(patch).toContain("-caf\xe9\n+caf\xe9!\n");
    expect(entries[0]?.invalidUtf8).toBe(true);
  });

  it.each([
    ["caf\xc3\xa9", "b/caf\xc3\xa9"],
    ["caf\xe9", '"b/caf\\351"'],
    ['q"\\\t', '"b/q\\"\\\\\\t"'],
    ["rtl\xe2\x80\xae", '"b/rtl\\342\\200\\256"'],
    ["\x1b[31m", '"b/\\033[31m"'],
  ])("quotes %j where it cannot be read plainly", async (path, quoted) => {
    expect((await diff({}, { [path]: "" })).patch).toContain(` ${quoted}\n`);
  });
});

describe("renames", () => {
  it("are a deleted and an added file of the same bytes; those that keep their name come first", async () => {
    const before = { "a/x": "1\n", "a/y": "1\n", "a/z": "2\n", "a/e": "" };
    const { entries, patch, reads } = await diff(before, {
      "b/y": "1\n",
      "b/q": file("1\n", 0o755),
      "b/w": "1\n",
      "b/e": "",
    });
    expect(entries.map(({ path, change, from }) => [path, change, from])).toEqual([
      ["a/e", "deleted", undefined],
      ["a/z", "deleted", undefined],
      ["b/e", "added", undefined],
      ["b/q", "renamed", "a/x"],
      ["b/w", "added", undefined],
      ["b/y", "renamed", "a/y"],
    ]);
    expect(patch).toContain(
      "diff --git a/a/x b/b/q\nold mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from a/x\nrename to b/q\n",
    );
    expect(reads.some((read) => read.includes("/x") || read.includes("/q"))).toBe(false);
  });

  it("need hashes of both", async () => {
    const one = state("file", { sizeBytes: 2 });
    const hashed = { ...changed("b", undefined, one), afterSha256: sha256("1\n") };
    const { entries } = await collect([changed("a", one), hashed], {
      read: () => Promise.resolve(bytes("1\n")),
    });
    expect(entries.map(({ change }) => change)).toEqual(["deleted", "added"]);
  });
});

describe("many changes", () => {
  it("leaves out directories that came or went with what is in them", async () => {
    const { entries } = await collect(
      [
        changed("new", undefined, state("directory")),
        changed("new/deep", undefined, state("directory")),
        changed("new.txt", undefined, link("x")),
        changed("old", state("directory")),
        changed("old/link", link("x")),
      ],
      noContents,
    );
    expect(entries.map(({ path }) => path)).toEqual(["new.txt", "new/deep", "old/link"]);
  });

  it("reads only a few files ahead, and none after its reader stopped", async () => {
    const after = filesOf(Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`f${i}`, `${i}\n`])));
    const contents = contentsOf(new Map(), after);
    for await (const part of diffFiles(changesBetween(new Map(), after), contents)) {
      expect(part.entry.path).toBe("f0");
      break;
    }
    expect(contents.seen.length).toBeLessThan(12);
  });

  it("fails with what reading fails with, in the file's turn", async () => {
    const changes = [
      changed("a", undefined, link("x")),
      changed("b", undefined, state("file", { sizeBytes: 1 })),
    ];
    const seen: string[] = [];
    const run = async (): Promise<void> => {
      for await (const part of diffFiles(changes, noContents)) seen.push(part.entry.path);
    };
    await expect(run()).rejects.toThrow("nothing was to be read");
    expect(seen).toEqual(["a"]);
  });

  it("gives nothing where nothing changed", async () => {
    expect(await diff({ n: "1\n" }, { n: "1\n" })).toEqual({ entries: [], patch: "", reads: [] });
  });
});

describe("large edits", () => {
  it("become one replacement between the first and the last difference, and still apply", async () => {
    const lines = (from: number): string =>
      Array.from({ length: 5_000 }, (_, i) => `${from + i * 7}\n`).join("");
    const before = `head\n${lines(1)}tail\nlast`;
    const after = `head\n${lines(2)}tail\nlast`;
    const { text, insertions, deletions } = textHunks(before, after);
    expect([insertions, deletions]).toEqual([5_000, 5_000]);
    expect(text.match(/^@@/gm)).toHaveLength(1);
    const tree = new MemoryTree({ n: before });
    tree.commit((await applyPatch(`--- a/n\n+++ b/n\n${text}`, tree)).changes);
    expect(tree.snapshot()).toEqual({ n: after });
  });
});
