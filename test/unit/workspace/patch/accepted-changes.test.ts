import { describe, expect, it } from "vitest";
import { applyPatch } from "../../../../src/workspace/patch/index.js";
import { takes, type Case } from "./cases.js";
import { MemoryTree } from "./memory-tree.js";

const APP = "import os\n\ndef add(a, b):\n    return a - b\n\nprint(add(1, 2))\n";
const FIXED = APP.replace("a - b", "a + b");
const HUNK = [
  "@@ -1,6 +1,6 @@",
  " import os",
  " ",
  " def add(a, b):",
  "-    return a - b",
  "+    return a + b",
  " ",
  " print(add(1, 2))",
];
const KINDS: Case[] = [
  {
    title: "makes a file, with its directories left to the commit",
    files: {},
    patch: [
      "diff --git a/src/new.ts b/src/new.ts",
      "new file mode 100644",
      "index 0000000..e69de29",
      "--- /dev/null",
      "+++ b/src/new.ts",
      "@@ -0,0 +1,2 @@",
      "+one",
      "+two",
    ],
    becomes: { "src/new.ts": "one\ntwo\n" },
  },
  {
    title: "makes a file from plain headers with a wrong count",
    files: {},
    patch: ["--- /dev/null", "+++ new.txt", "@@ -1,0 +1,7 @@", "+one", "+two", ""],
    becomes: { "new.txt": "one\ntwo\n" },
  },
  {
    title: "makes a file that diff -N names on both sides, with the epoch as its time",
    files: {},
    patch: [
      "--- new.txt\t1970-01-01 00:00:00.000000000 +0000",
      "+++ new.txt\t2024-05-01 10:00:00 +0000",
      "@@ -0,0 +1 @@",
      "+one",
    ],
    becomes: { "new.txt": "one\n" },
  },
  {
    title: "makes a file that stands on both sides and does not exist",
    files: {},
    patch: ["--- a/new.txt", "+++ b/new.txt", "@@ -0,0 +1 @@", "+one"],
    becomes: { "new.txt": "one\n" },
  },
  {
    title: "makes an executable file",
    files: {},
    patch: [
      "diff --git a/run.sh b/run.sh",
      "new file mode 100755",
      "--- /dev/null",
      "+++ b/run.sh",
      "@@ -0,0 +1 @@",
      "+#!/bin/sh",
    ],
    becomes: { "run.sh 755": "#!/bin/sh\n" },
  },
  {
    title: "makes an empty file",
    files: {},
    patch: [
      "diff --git a/pkg/__init__.py b/pkg/__init__.py",
      "new file mode 100644",
      "index 0000000..e69de29",
    ],
    becomes: { "pkg/__init__.py": "" },
  },
  {
    title: "makes a file without a final newline",
    files: {},
    patch: ["--- /dev/null", "+++ b/n", "@@ -0,0 +1 @@", "+one", "\\ No newline at end of file"],
    becomes: { n: "one" },
  },
  {
    title: "fills an empty file",
    files: { n: "" },
    patch: ["--- a/n", "+++ b/n", "@@ -1 +1,2 @@", "+one", "+two"],
    becomes: { n: "one\ntwo\n" },
  },
  {
    title: "empties a file and leaves it",
    files: { n: "one\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1 +0,0 @@", "-one"],
    becomes: { n: "" },
  },
  {
    title: "deletes a file",
    files: { n: "one\ntwo\n", m: "" },
    patch: [
      "diff --git a/n b/n",
      "deleted file mode 100644",
      "--- a/n",
      "+++ /dev/null",
      "@@ -1,2 +0,0 @@",
      "-one",
      "-two",
    ],
    becomes: { m: "" },
  },
  {
    title: "deletes an empty file",
    files: { n: "" },
    patch: ["diff --git a/n b/n", "deleted file mode 100644", "index e69de29..0000000"],
    becomes: {},
  },
  {
    title: "renames without a change, binary files too",
    files: { "old name": "\0\xff" },
    patch: [
      "diff --git a/old name b/new name",
      "similarity index 100%",
      "rename from old name",
      "rename to new name",
    ],
    becomes: { "new name": "\0\xff" },
  },
  {
    title: "renames and changes, and keeps who may read",
    files: { "a.py": { content: APP, mode: 0o600 } },
    patch: [
      "diff --git a/a.py b/src/b.py",
      "similarity index 80%",
      "rename from a.py",
      "rename to src/b.py",
      "--- a/a.py",
      "+++ b/src/b.py",
      ...HUNK,
    ],
    becomes: { "src/b.py 600": FIXED },
  },
  {
    title: "makes a file executable for those who may read it",
    files: { "run.sh": { content: "x\n", mode: 0o640 } },
    patch: ["diff --git a/run.sh b/run.sh", "old mode 100644", "new mode 100755"],
    becomes: { "run.sh 750": "x\n" },
  },
  {
    title: "changes mode and content at once",
    files: { "run.sh": { content: "x\n", mode: 0o755 } },
    patch: [
      "diff --git a/run.sh b/run.sh",
      "old mode 100755",
      "new mode 100644",
      "--- a/run.sh",
      "+++ b/run.sh",
      "@@ -1 +1 @@",
      "-x",
      "+y",
    ],
    becomes: { "run.sh": "y\n" },
  },
  {
    title: "patches a path twice, one after the other",
    files: { n: "one\n" },
    patch: [
      "--- a/n",
      "+++ b/n",
      "@@ -1 +1 @@",
      "-one",
      "+two",
      "--- a/n",
      "+++ b/n",
      "@@ -1 +1 @@",
      "-two",
      "+three",
    ],
    becomes: { n: "three\n" },
  },
  {
    title: "makes a file and changes it in the same patch",
    files: {},
    patch: [
      "--- /dev/null",
      "+++ b/n",
      "@@ -0,0 +1 @@",
      "+one",
      "--- a/n",
      "+++ b/n",
      "@@ -1 +1 @@",
      "-one",
      "+two",
    ],
    becomes: { n: "two\n" },
  },
  {
    title: "renames, and changes the file under its new name",
    files: { n: "one\n" },
    patch: [
      "diff --git a/n b/m",
      "rename from n",
      "rename to m",
      "",
      "--- a/m",
      "+++ b/m",
      "@@ -1 +1 @@",
      "-one",
      "+two",
    ],
    becomes: { m: "two\n" },
  },
  {
    title: "changes a file, and renames it twice",
    files: { n: "one\n" },
    patch: [
      "--- a/n",
      "+++ b/n",
      "@@ -1 +1 @@",
      "-one",
      "+two",
      "diff --git a/n b/m",
      "rename from n",
      "rename to m",
      "diff --git a/m b/o",
      "rename from m",
      "rename to o",
    ],
    becomes: { o: "two\n" },
  },
  {
    title: "takes a byte order mark before the first header",
    files: { n: "1\n" },
    patch: ["\ufeff--- a/n", "+++ b/n", "@@ -1 +1 @@", "-1", "+2"],
    becomes: { n: "2\n" },
  },
  {
    title: "renames, and makes a new file at the old path",
    files: { n: "one\n" },
    patch: [
      "diff --git a/n b/m",
      "rename from n",
      "rename to m",
      "diff --git a/n b/n",
      "new file mode 100644",
      "--- /dev/null",
      "+++ b/n",
      "@@ -0,0 +1 @@",
      "+new",
    ],
    becomes: { m: "one\n", n: "new\n" },
  },
  {
    title: "several files with empty lines and fences between",
    files: { n: "one\n", m: "two\n" },
    patch: [
      "```diff",
      "--- a/n",
      "+++ b/n",
      "@@ -1 +1 @@",
      "-one",
      "+1",
      "```",
      "and",
      "```diff",
      "--- a/m",
      "+++ b/m",
      "@@ -1 +1 @@",
      "-two",
      "+2",
      "```",
    ],
    becomes: { m: "2\n", n: "1\n" },
  },
  {
    title: "takes names with spaces, quotes, tabs and bytes that are no UTF-8",
    files: { "a b": "1\n", 'q"\t\xe9': "1\n" },
    patch: [
      "diff --git a/a b b/a b",
      "--- a/a b\t",
      "+++ b/a b\t",
      "@@ -1 +1 @@",
      "-1",
      "+2",
      'diff --git "a/q\\"\\t\\351" "b/q\\"\\t\\351"',
      '--- "a/q\\"\\t\\351"',
      '+++ "b/q\\"\\t\\351"',
      "@@ -1 +1 @@",
      "-1",
      "+3",
    ],
    becomes: { "a b": "2\n", 'q"\t\xe9': "3\n" },
  },
  {
    title: "takes removed and added lines that look like headers",
    files: { "q.sql": "-- a/x\n-- b\nselect 1\n" },
    patch: ["--- a/q.sql", "+++ b/q.sql", "@@ -1,3 +1,3 @@", "--- a/x", "+++ b/x", " -- b", " select 1"],
    becomes: { "q.sql": "++ b/x\n-- b\nselect 1\n" },
  },
  {
    title: "does not lose a hunk to a line that looks like a mail's signature",
    files: { n: "- \nx\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,2 +1 @@", "-- ", " x"],
    becomes: { n: "x\n" },
  },
];

describe("patches: kinds of changes", () => takes(KINDS));

it("records what was done, in byte order of the paths", async () => {
  const tree = new MemoryTree({ a: "1\n", b: "1\n", c: "1\n", e: "1\n" });
  const patch = [
    ...["--- a/e", "+++ b/e", "@@ -1 +1 @@", "-1", "+2"],
    ...["diff --git a/c b/d", "rename from c", "rename to d"],
    ...["--- a/b", "+++ /dev/null", "@@ -1 +0,0 @@", "-1"],
    ...["--- /dev/null", "+++ b/B", "@@ -0,0 +1 @@", "+1"],
  ].join("\n");
  const { result, changes } = await applyPatch(patch, tree);
  expect(result).toEqual({
    changed: true,
    entries: [
      { path: "B", change: "added" },
      { path: "b", change: "deleted" },
      { path: "d", change: "renamed", from: "c" },
      { path: "e", change: "modified" },
    ],
  });
  expect(changes.map((change) => change.kind)).toEqual(["delete", "move", "write", "write"]);
});

it("says that nothing changed when a patch undoes itself", async () => {
  const tree = new MemoryTree({ n: "one\n" });
  const there = ["--- a/n", "+++ b/n", "@@ -1 +1 @@", "-one", "+two"];
  const back = ["--- a/n", "+++ b/n", "@@ -1 +1 @@", "-two", "+one"];
  const plan = await applyPatch([...there, ...back].join("\n"), tree);
  expect(plan).toEqual({ changes: [], result: { changed: false, entries: [] } });
});
