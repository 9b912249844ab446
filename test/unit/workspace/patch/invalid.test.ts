import { describe, expect, it } from "vitest";
import { MemoryTree } from "./memory-tree.js";
import { BODY, errorOf, plain } from "./refusal.js";

describe("invalid patches, by line and reason", () => {
  const cases: readonly (readonly [string, readonly string[] | string, RegExp])[] = [
    ["nothing", "", /the patch is empty/],
    ["only space", " \n\n", /the patch is empty/],
    ["only words", "please fix it\n", /no file header/],
    [
      "the patch format of other agents",
      ["*** Begin Patch", "*** Update File: n", "@@", "-1", "+2", "*** End Patch"],
      /line 1 .*not a unified diff/,
    ],
    [
      "a context diff",
      ["*** n\t2024", "--- n\t2024", "***************", "*** 1 ****"],
      /context diffs are refused/,
    ],
    [
      "a binary difference",
      ["diff --git a/n b/n", "index 1..2 100644", "Binary files a/n and b/n differ"],
      /line 3 .*binary patches are refused/,
    ],
    ["a binary difference without git", ["Binary files n and m differ"], /binary patches are refused/],
    [
      "a binary git patch",
      ["diff --git a/n b/n", "new file mode 100644", "index 0..1", "GIT binary patch", "literal 4"],
      /line 4 .*binary/,
    ],
    [
      "a new symbolic link",
      ["diff --git a/l b/l", "new file mode 120000", "--- /dev/null", "+++ b/l", "@@ -0,0 +1 @@", "+/etc"],
      /symbolic links are refused/,
    ],
    [
      "a changed symbolic link",
      ["diff --git a/l b/l", "index 1..2 120000", ...plain("a/l", "b/l")],
      /symbolic links are refused/,
    ],
    [
      "a submodule",
      ["diff --git a/m b/m", "index 1..2 160000", ...plain("a/m", "b/m")],
      /submodules are refused/,
    ],
    [
      "a mode that no file has",
      ["diff --git a/m b/m", "old mode 100644", "new mode 040000"],
      /not the mode of a regular file/,
    ],
    [
      "a copy",
      ["diff --git a/n b/m", "similarity index 100%", "copy from n", "copy to m"],
      /copies are refused/,
    ],
    [
      "a merge's combined diff",
      ["diff --cc n", "index 1,2..3", "--- a/n", "+++ b/n", "@@@ -1,1 -1,1 +1,1 @@@"],
      /combined diffs/,
    ],
    ["a merge's combined hunk", ["--- a/n", "+++ b/n", "@@@ -1,1 -1,1 +1,1 @@@", "--1"], /combined diffs/],
    ["an absolute path", plain("/etc/passwd"), /absolute paths are refused/],
    ["an absolute path behind a/", plain("a//etc/passwd", "b//etc/passwd"), /absolute paths are refused/],
    ["..", plain("a/../../etc/passwd", "b/../../etc/passwd"), /"\.\." is refused/],
    [".. in the middle", plain("a/x/../../y", "b/x/../../y"), /"\.\." is refused/],
    [
      "a rename to the outside",
      ["diff --git a/n b/../n", "rename from n", "rename to ../n"],
      /"\.\." is refused/,
    ],
    ["git's own files", plain("a/.git/hooks/pre-commit", "b/.git/hooks/pre-commit"), /inside \.git/],
    ["git's own files, in other letters", plain("a/sub/.GIT/config", "b/sub/.GIT/config"), /inside \.git/],
    ["an empty component", plain("a/x//y", "b/x//y"), /empty component/],
    ["a quoted NUL", plain('"a/n\\000"', '"b/n\\000"'), /NUL byte/],
    ["a NUL", ["--- a/n", "+++ b/n", "@@ -1 +1 @@", "-1", "+\0"], /line 5 .*NUL byte/],
    ["a path of 5,000 bytes", plain("x/".repeat(2500) + "x"), /at most 4095 bytes/],
    ["a name of 300 bytes", plain("x".repeat(300)), /at most 255 bytes/],
    ["/dev/null on both sides", ["--- /dev/null", "+++ /dev/null", ...BODY], /both sides/],
    ["two names without a rename", plain("a/n", "b/m"), /two names of the file differ/],
    [
      "names that cannot be told apart",
      ["diff --git a b c d", "old mode 100644", "new mode 100755"],
      /cannot be told apart/,
    ],
    ["a header that says nothing", ["diff --git a/n b/n", "index 1..2 100644"], /nothing is said/],
    ["a hunk without a file", [...BODY], /line 1 .*hunk without a file header/],
    ["--- without +++", ["--- a/n", ...BODY], /\+\+\+ line is missing/],
    ["+++ without ---", ["+++ b/n", ...BODY], /--- line is missing/],
    [
      "a context line without its space",
      ["--- a/n", "+++ b/n", "@@ -1,2 +1,2 @@", "def f():", "-1", "+2"],
      /line 4 .*neither a line of a hunk/,
    ],
    ["words behind a hunk", [...plain("a/n", "b/n"), "That is all."], /line 6 .*neither/],
    ["a hunk that changes nothing", ["--- a/n", "+++ b/n", "@@ -1 +1 @@", " 1"], /changes nothing/],
    [
      "a hunk header that is none",
      ["--- a/n", "+++ b/n", "@@ -1,x +1 @@", "-1", "+2"],
      /header is not well formed/,
    ],
    [
      "a huge count",
      ["--- a/n", "+++ b/n", "@@ -1,99999999999999999999 +1 @@", "-1", "+2"],
      /number that is too large/,
    ],
    ["old lines in a new file", ["--- /dev/null", "+++ b/n", ...BODY], /new file has old lines/],
    ["new lines in a deleted file", ["--- a/n", "+++ /dev/null", ...BODY], /deleted file keeps lines/],
    ["a patch of 9 MB", "x".repeat(9 * 1024 * 1024), /at most 8388608/],
  ];
  it.each(cases)("%s", async (_, patch, message) => {
    const error = await errorOf(patch, new MemoryTree({ n: "1\n" }));
    expect(error.message).toMatch(message);
    expect(error.code).toBe("PATCH_INVALID");
  });

  it("names the path that was meant when it is written absolutely", async () => {
    const error = await errorOf(plain("/workspace/src/n"), new MemoryTree({}));
    expect(error.hint).toBe("name it relative to /workspace: src/n");
  });

  it("refuses more files than can be right", async () => {
    const patch = Array.from({ length: 5_001 }, (_, i) => plain(`a/${i}`, `b/${i}`)).flat();
    expect((await errorOf(patch, new MemoryTree({}))).message).toMatch(/at most 5000 files/);
  });
});
