import { describe, expect, it } from "vitest";
import { PyroError } from "../../../../src/protocol/index.js";
import { applyPatch, type TreeEntry } from "../../../../src/workspace/patch/index.js";
import { MemoryTree, type MemoryFiles } from "./memory-tree.js";
import { errorOf, failuresOf, plain } from "./refusal.js";

describe("patches that do not apply", () => {
  const SOURCE = [
    "def first():",
    "    return 1",
    "",
    "def second():",
    "    return 2",
    "",
    "def third():",
    "    return 3",
    "",
  ].join("\n");

  it("quotes the hunk and the nearest lines, and names file, hunk and line", async () => {
    const patch = [
      "--- a/f.py",
      "+++ b/f.py",
      "@@ -1,2 +1,2 @@",
      " def first():",
      "-    return 1",
      "+    return 10",
      "@@ -20,3 +20,3 @@",
      " def second():",
      "-    return two",
      "+    return 22",
      " ",
    ];
    const error = await errorOf(patch, new MemoryTree({ "f.py": SOURCE }));
    expect(error.code).toBe("PATCH_DOES_NOT_APPLY");
    expect(error.message).toBe("hunk 2 (line 7 of the patch) does not apply to f.py; nothing was changed");
    expect(error.hint).toBe(
      [
        "read the file as it is now, and make the patch from that",
        "f.py, hunk 2 (line 7 of the patch): its context and removed lines are not in the file, in this order",
        "the hunk expects:",
        "       | def second():",
        "       |     return two",
        "       | ",
        "the file has there:",
        "     4 | def second():",
        ">    5 |     return 2",
        "     6 | ",
      ].join("\n"),
    );
    expect(failuresOf(error)).toMatchObject([
      { path: "f.py", hunk: 2, patch_line: 7, applied_already: false },
    ]);
  });

  it("finds the nearest lines by their letters when no line is the same", async () => {
    const patch = ["--- a/f.py", "+++ b/f.py", "@@ -1 +1 @@", "-def thirdly(self):", "+x"];
    const [failure] = failuresOf(await errorOf(patch, new MemoryTree({ "f.py": SOURCE })));
    expect(failure?.nearest).toEqual([{ line: 7, text: "def third():", differs: true }]);
  });

  it("reports every file and hunk at once", async () => {
    const patch = [
      ...plain("a/n", "b/n"),
      "@@ -5 +5 @@",
      "-5",
      "+6",
      ...plain("a/m", "b/m"),
      ...plain("a/o", "b/o"),
    ];
    const error = await errorOf(patch, new MemoryTree({ n: "x\n", o: "1\n" }));
    expect(error.message).toMatch(/^hunk 1 .* does not apply to n, and 2 more; nothing was changed$/);
    expect(failuresOf(error).map(({ path, hunk }) => [path, hunk])).toEqual([
      ["n", 1],
      ["n", 2],
      ["m", undefined],
    ]);
  });

  it("says what seems to be applied already", async () => {
    const patch = [
      "--- a/f.py",
      "+++ b/f.py",
      "@@ -1,2 +1,2 @@",
      " def first():",
      "-    return 0",
      "+    return 1",
    ];
    const error = await errorOf(patch, new MemoryTree({ "f.py": SOURCE }));
    expect(error.hint).toMatch(/^the change seems to be applied already/);
  });

  it("says when only spaces differ, and marks the line", async () => {
    const patch = ["--- a/n", "+++ b/n", "@@ -1,2 +1,2 @@", " if x:", "-    y", "+    z"];
    const [failure] = failuresOf(await errorOf(patch, new MemoryTree({ n: "if x:\n\ty  \n" })));
    expect(failure?.reason).toBe("its lines are in the file, but with other spaces or tabs");
    expect(failure?.nearest?.map((line) => line.differs)).toEqual([false, true]);
  });

  it("is bounded, however much fails", async () => {
    const long = "y".repeat(5_000);
    const patch = [
      "--- a/n",
      "+++ b/n",
      ...Array.from({ length: 500 }, (_, i) => [`@@ -${i} +${i} @@`, `-${i}${long}`, "+2"]).flat(),
    ];
    const error = await errorOf(patch, new MemoryTree({ n: `${long}\n`.repeat(300) }));
    expect(error.message).toMatch(/and at least 20 more/);
    expect(error.hint.length).toBeLessThan(9_000);
    expect(JSON.stringify(error.details).length).toBeLessThan(64 * 1024);
  });

  it("bounds its search, whatever the file and the patch are", async () => {
    const hunks = Array.from({ length: 200 }, (_, i) => [
      `@@ -${i + 2},4 +1,4 @@`,
      " ",
      " ",
      " ",
      `-${i}`,
      "+x",
    ]).flat();
    const error = await errorOf(
      ["--- a/n", "+++ b/n", ...hunks],
      new MemoryTree({ n: "\n".repeat(2_000_000) }),
    );
    expect(error.code).toBe("PATCH_DOES_NOT_APPLY");
  });

  const entry = (type: TreeEntry["type"]): TreeEntry => ({ type, sizeBytes: 1, mode: 0o755 });
  const cases: readonly (readonly [string, readonly string[], MemoryFiles, RegExp, boolean])[] = [
    ["a missing file", plain("a/n", "b/n"), {}, /to n: does not exist/, false],
    [
      "a missing file under a foreign prefix",
      plain("a/workspace/n", "b/workspace/n"),
      { n: "1\n" },
      /workspace\/n: does not exist; n does/,
      false,
    ],
    ["a directory", plain("a/directory", "b/directory"), {}, /is a directory/, false],
    ["a symbolic link", plain("a/link", "b/link"), {}, /is a symbolic link/, false],
    ["a pipe", plain("a/pipe", "b/pipe"), {}, /is a device, pipe or socket/, false],
    ["a binary file", plain("a/n", "b/n"), { n: "\0\n" }, /is a binary file/, false],
    ["a file of 9 MB", plain("a/n", "b/n"), { n: "1\n".repeat(4_600_000) }, /is 9200000 bytes/, false],
    [
      "a new file that exists",
      ["--- /dev/null", "+++ b/n", "@@ -0,0 +1 @@", "+1"],
      { n: "2\n" },
      /exists already, with other/,
      false,
    ],
    [
      "a new file that exists so",
      ["--- /dev/null", "+++ b/n", "@@ -0,0 +1 @@", "+1"],
      { n: "1\n" },
      /exists already, with this/,
      true,
    ],
    [
      "a deleted file that is gone",
      ["--- a/n", "+++ /dev/null", "@@ -1 +0,0 @@", "-1"],
      {},
      /does not exist/,
      true,
    ],
    [
      "a deleted file that has more lines",
      ["--- a/n", "+++ /dev/null", "@@ -1 +0,0 @@", "-1"],
      { n: "1\n2\n" },
      /does not remove all lines/,
      false,
    ],
    [
      "a rename of what is not there",
      ["diff --git a/n b/m", "rename from n", "rename to m"],
      {},
      /n: does not exist/,
      false,
    ],
    [
      "a rename that is done",
      ["diff --git a/n b/m", "rename from n", "rename to m"],
      { m: "" },
      /n: does not exist/,
      true,
    ],
    [
      "a rename onto a file",
      ["diff --git a/n b/m", "rename from n", "rename to m"],
      { n: "", m: "" },
      /m: .*exists already/,
      false,
    ],
    [
      "a rename of a directory",
      ["diff --git a/directory b/m", "rename from directory", "rename to m"],
      {},
      /is a directory/,
      false,
    ],
    [
      "the same file made twice",
      [
        ...["--- /dev/null", "+++ b/n", "@@ -0,0 +1 @@", "+1"],
        ...["--- /dev/null", "+++ b/n", "@@ -0,0 +1 @@", "+2"],
      ],
      {},
      /exists already/,
      false,
    ],
    [
      "a deleted file that is changed afterwards",
      ["--- a/n", "+++ /dev/null", "@@ -1 +0,0 @@", "-1", ...plain("a/n", "b/n")],
      { n: "1\n" },
      /does not exist/,
      false,
    ],
    [
      "a hunk that fits in two places equally near",
      ["--- a/n", "+++ b/n", "@@ -2 +2 @@", "-x", "+y"],
      { n: "x\na\nx\n" },
      /hunk 1/,
      false,
    ],
    ["a hunk without a place", ["--- a/n", "+++ b/n", "@@", "+x"], { n: "1\n" }, /hunk 1/, false],
    [
      "an insertion behind the end",
      ["--- a/n", "+++ b/n", "@@ -9,0 +10 @@", "+x"],
      { n: "1\n" },
      /hunk 1/,
      false,
    ],
    [
      "a last line without newline that has one",
      ["--- a/n", "+++ b/n", "@@ -1 +1 @@", "-1", "\\ No newline at end of file", "+2"],
      { n: "1\n" },
      /hunk 1/,
      false,
    ],
    [
      "other spaces: no fuzz",
      ["--- a/n", "+++ b/n", "@@ -1,2 +1,2 @@", "   1", "-2", "+3"],
      { n: "\t1\n2\n" },
      /hunk 1/,
      false,
    ],
  ];
  it.each(cases)("%s", async (_, patch, files, message, already) => {
    const others = { directory: entry("directory"), link: entry("symlink"), pipe: entry("other") };
    const error = await errorOf(patch, new MemoryTree(files, others));
    expect(error.code).toBe("PATCH_DOES_NOT_APPLY");
    expect(error.message).toMatch(message);
    expect(failuresOf(error)[0]?.applied_already).toBe(already);
  });

  it("passes on what the tree itself fails with", async () => {
    const tree = new MemoryTree({ n: "1\n" });
    tree.stat = () => Promise.reject(new PyroError("GUEST_DISCONNECTED", "gone"));
    await expect(applyPatch(plain("a/n", "b/n").join("\n"), tree)).rejects.toMatchObject({
      code: "GUEST_DISCONNECTED",
    });
  });
});
