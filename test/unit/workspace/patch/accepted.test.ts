import { describe, expect, it } from "vitest";
import { applyPatch } from "../../../../src/workspace/patch/index.js";
import { MemoryTree, type MemoryFiles } from "./memory-tree.js";

interface Case {
  readonly title: string;
  readonly files: MemoryFiles;
  /** One line of the patch each; joined with LF and ended by one, unless it is a whole text. */
  readonly patch: readonly string[] | string;
  /** The tree afterwards; executable files as "path 755". */
  readonly becomes: Readonly<Record<string, string>>;
}

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
const TEN = Array.from({ length: 10 }, (_, i) => `${i + 1}\n`).join("");

const HEADERS: Case[] = [
  [
    "a git header with an index",
    ["diff --git a/app.py b/app.py", "index 1234567..89abcde 100644", "--- a/app.py", "+++ b/app.py"],
  ],
  ["only --- and +++", ["--- a/app.py", "+++ b/app.py"]],
  ["names without a/ and b/", ["--- app.py", "+++ app.py"]],
  ["names that begin with ./", ["--- ./app.py", "+++ ./app.py"]],
  [
    "times behind the names",
    [
      "--- a/app.py\t2024-05-01 10:00:00.000000000 +0000",
      "+++ b/app.py\t2024-05-01 10:01:00.000000000 +0000",
    ],
  ],
  ["an .orig on the old side", ["--- app.py.orig\t2024-05-01", "+++ app.py"]],
  ["mnemonic prefixes", ["diff --git i/app.py w/app.py", "--- i/app.py", "+++ w/app.py"]],
  ["a git header without --- and +++", ["diff --git a/app.py b/app.py"]],
  [
    "words before the first header",
    ["Here is the fix for the failing test:", "", "--- a/app.py", "+++ b/app.py"],
  ],
  ["a header of diff -u", ["diff -u old/app.py new/app.py", "--- app.py", "+++ app.py"]],
  [
    "a header of Subversion",
    [
      "Index: app.py",
      "===================================================================",
      "--- app.py\t(revision 3)",
      "+++ app.py\t(working copy)",
    ],
  ],
].map(([title, header]) => ({
  title: `takes ${title as string}`,
  files: { "app.py": APP },
  patch: [...(header as string[]), ...HUNK],
  becomes: { "app.py": FIXED },
}));

const AROUND: Case[] = [
  ["a ```diff fence", ["```diff", "--- a/app.py", "+++ b/app.py", ...HUNK, "```"]],
  [
    "a fence with words on both sides",
    ["I changed the sign:", "```", "--- a/app.py", "+++ b/app.py", ...HUNK, "```", "Run the tests again."],
  ],
  ["empty lines at the end", ["--- a/app.py", "+++ b/app.py", ...HUNK, "", "", ""]],
  [
    "a mail of git format-patch",
    [
      "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001",
      "From: A <a@example.com>",
      "Date: Mon, 1 Jan 2024 00:00:00 +0000",
      "Subject: [PATCH] fix",
      "",
      "---",
      " app.py | 2 +-",
      " 1 file changed, 1 insertion(+), 1 deletion(-)",
      "",
      "diff --git a/app.py b/app.py",
      "--- a/app.py",
      "+++ b/app.py",
      ...HUNK,
      "-- ",
      "2.39.5",
      "",
    ],
  ],
  ["a patch without a newline at its end", ["--- a/app.py", "+++ b/app.py", ...HUNK].join("\n")],
  [
    "a patch that was converted to CRLF",
    ["--- a/app.py", "+++ b/app.py", ...HUNK].map((line) => `${line}\r\n`).join(""),
  ],
  [
    "a patch of which only the hunks are CRLF",
    ["--- a/app.py", "+++ b/app.py", ...HUNK.map((line) => `${line}\r`)],
  ],
].map(([title, patch]) => ({
  title: `takes ${title as string}`,
  files: { "app.py": APP },
  patch: patch as string | string[],
  becomes: { "app.py": FIXED },
}));

const COUNTS: Case[] = [
  ["counts that are too small", ["@@ -1,4 +1,4 @@", ...HUNK.slice(1)]],
  ["counts that are too large", ["@@ -1,9 +1,12 @@", ...HUNK.slice(1)]],
  ["counts that contradict each other", ["@@ -1,3 +1,9 @@ def add(a, b):", ...HUNK.slice(1)]],
  ["a header without counts", ["@@ -1 +1 @@", ...HUNK.slice(1)]],
  ["a header without numbers", ["@@ ... @@", ...HUNK.slice(1)]],
  ["a bare header", ["@@", ...HUNK.slice(1)]],
  ["a header with only the function's name", ["@@ def add(a, b):", ...HUNK.slice(1)]],
  ["a header without its second @@", ["@@ -1,6 +1,6", ...HUNK.slice(1)]],
  [
    "blank context lines whose space was trimmed",
    ["@@ -1,6 +1,6 @@", ...HUNK.slice(1).map((line) => (line === " " ? "" : line))],
  ],
  [
    "trimmed blank lines and wrong counts",
    ["@@ -1,2 +1,2 @@", ...HUNK.slice(1).map((line) => (line === " " ? "" : line)), ""],
  ],
  ["a wrong line number", ["@@ -40,6 +41,6 @@", ...HUNK.slice(1)]],
  ["line 0", ["@@ -0,6 +0,6 @@", ...HUNK.slice(1)]],
  ["no context at all, by the removed line", ["@@ -4 +4 @@", "-    return a - b", "+    return a + b"]],
].map(([title, hunk]) => ({
  title: `takes ${title as string}`,
  files: { "app.py": APP },
  patch: ["--- a/app.py", "+++ b/app.py", ...(hunk as string[])],
  becomes: { "app.py": FIXED },
}));

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

const PLACES: Case[] = [
  {
    title: "takes several hunks whose lines have moved",
    files: { n: `new\nnew\n${TEN}` },
    patch: ["--- a/n", "+++ b/n", "@@ -2,1 +2,1 @@", "-2", "+two", "@@ -9,1 +9,1 @@", "-9", "+nine"],
    becomes: { n: `new\nnew\n${TEN.replace("2", "two").replace("9", "nine")}` },
  },
  {
    title: "takes the nearest of several places",
    files: { n: "x\na\nx\nb\nx\nc\nx\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -5 +5 @@", "-x", "+y"],
    becomes: { n: "x\na\nx\nb\ny\nc\nx\n" },
  },
  {
    title: "gives two equal hunks two places",
    files: { n: "x\na\nx\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1 +1 @@", "-x", "+y", "@@ -1 +1 @@", "-x", "+z"],
    becomes: { n: "y\na\nz\n" },
  },
  {
    title: "takes hunks in any order, and hunks that share context",
    files: { n: TEN },
    patch: [
      "--- a/n",
      "+++ b/n",
      "@@ -4,3 +4,3 @@",
      " 4",
      "-5",
      "+five",
      " 6",
      "@@ -2,3 +2,3 @@",
      " 2",
      "-3",
      "+three",
      " 4",
    ],
    becomes: { n: TEN.replace("3", "three").replace("5", "five") },
  },
  {
    title: "inserts without context where the header says",
    files: { n: TEN },
    patch: ["--- a/n", "+++ b/n", "@@ -3,0 +4,1 @@", "+3.5"],
    becomes: { n: TEN.replace("3\n", "3\n3.5\n") },
  },
];

const ENDINGS: Case[] = [
  {
    title: "keeps a CRLF file CRLF under a patch with LF lines",
    files: { n: "one\r\ntwo\r\nthree\r\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,3 +1,4 @@", " one", "-two", "+2", "+2.5", " three"],
    becomes: { n: "one\r\n2\r\n2.5\r\nthree\r\n" },
  },
  {
    title: "keeps a CRLF file CRLF where lines are inserted without context",
    files: { n: "one\r\ntwo\r\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,0 +2 @@", "+1.5"],
    becomes: { n: "one\r\n1.5\r\ntwo\r\n" },
  },
  {
    title: "changes line endings when the patch does exactly that",
    files: { n: "one\r\ntwo\r\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,2 +1,2 @@", " one\r", "-two\r", "+two"],
    becomes: { n: "one\r\ntwo\n" },
  },
  {
    title: "follows the lines around it in a file of mixed endings",
    files: { n: "one\r\ntwo\r\nthree\nfour\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,4 +1,6 @@", " one", "+1.5", " two", " three", "+3.5", " four"],
    becomes: { n: "one\r\n1.5\r\ntwo\r\nthree\n3.5\nfour\n" },
  },
  {
    title: "keeps a missing final newline when the patch does not speak of it",
    files: { n: "one\ntwo" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,2 +1,2 @@", " one", "-two", "+2"],
    becomes: { n: "one\n2" },
  },
  {
    title: "keeps a missing final newline when lines are appended",
    files: { n: "one\r\ntwo" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,2 +1,3 @@", " one", " two", "+three"],
    becomes: { n: "one\r\ntwo\r\nthree" },
  },
  {
    title: "adds the final newline that the patch adds",
    files: { n: "one\ntwo" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,2 +1,2 @@", " one", "-two", "\\ No newline at end of file", "+two"],
    becomes: { n: "one\ntwo\n" },
  },
  {
    title: "removes the final newline that the patch removes",
    files: { n: "one\ntwo\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -1,2 +1,2 @@", " one", "-two", "+two", "\\ No newline at end of file"],
    becomes: { n: "one\ntwo" },
  },
  {
    title: "keeps bytes that are no UTF-8",
    files: { n: "\xff\xfe\none\n" },
    patch: ["--- a/n", "+++ b/n", "@@ -2 +2 @@", "-one", "+two"],
    becomes: { n: "\xff\xfe\ntwo\n" },
  },
];

describe.each([
  ["headers", HEADERS],
  ["what stands around a patch", AROUND],
  ["headers of hunks", COUNTS],
  ["kinds of changes", KINDS],
  ["places", PLACES],
  ["line endings", ENDINGS],
] as const)("patches: %s", (_, cases) => {
  it.each(cases)("$title", async ({ files, patch, becomes }) => {
    const tree = new MemoryTree(files);
    const text = typeof patch === "string" ? patch : `${patch.join("\n")}\n`;
    const plan = await applyPatch(text, tree);
    tree.commit(plan.changes);
    expect(tree.snapshot()).toEqual(becomes);
    expect(plan.result.changed).toBe(true);
  });
});

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
