import { describe, expect, it } from "vitest";
import { createdContent, updatedContent } from "../../../src/integrations/shared/v4a.js";

const FILE = "def a():\n    return 1\n\ndef b():\n    return 1\n";
const codeOf = (body: () => unknown): { code: string; message: string } => {
  try {
    body();
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error("nothing was thrown");
};

describe("a diff of OpenAI's apply_patch", () => {
  it.each([
    [
      "by its lines",
      "@@\n-    return 1\n+    return 2\n",
      "def a():\n    return 2\n\ndef b():\n    return 1\n",
    ],
    [
      "below an anchor",
      "@@ def b():\n-    return 1\n+    return 2\n",
      "def a():\n    return 1\n\ndef b():\n    return 2\n",
    ],
    [
      "without a header",
      "-    return 1\n+    return 2",
      "def a():\n    return 2\n\ndef b():\n    return 1\n",
    ],
    [
      "in two sections, in their order",
      "@@\n-    return 1\n+    return 2\n@@\n-    return 1\n+    return 3\n",
      "def a():\n    return 2\n\ndef b():\n    return 3\n",
    ],
    [
      "with a unified diff's headers, numbers that are wrong included",
      "--- a/x.py\n+++ b/x.py\n@@ -40,2 +40,2 @@ def b():\n def b():\n-    return 1\n+    return 2\n",
      "def a():\n    return 1\n\ndef b():\n    return 2\n",
    ],
    [
      "at the end of the file",
      "@@\n-    return 1\n+    return 2\n*** End of File\n",
      "def a():\n    return 1\n\ndef b():\n    return 2\n",
    ],
    [
      "with blank lines that lost their space",
      "@@\n     return 1\n\n-def b():\n+def c():\n",
      FILE.replace("def b", "def c"),
    ],
    [
      "where white space differs, which stays as it is",
      "@@\n def b():\n-return 1\n+    return 2",
      FILE.replace(/1\n$/, "2\n"),
    ],
  ])("changes a file %s", (_, diff, wanted) => {
    expect(updatedContent(FILE, diff)).toBe(wanted);
  });

  it("adds to what is empty, and behind the end", () => {
    expect(updatedContent("", "@@\n+a\n+b\n")).toBe("a\nb\n");
    expect(updatedContent("a\n", "@@\n+b\n*** End of File\n")).toBe("a\nb\n");
  });

  it("keeps the file's line ends, and its last line without one", () => {
    expect(updatedContent("a\r\nb\r\nc\r\n", "@@\n a\n-b\n+B\n")).toBe("a\r\nB\r\nc\r\n");
    expect(updatedContent("a\nb", "@@\n-b\n+c")).toBe("a\nc");
  });

  it("takes lines that look like headers for what they are", () => {
    expect(updatedContent("-- sql\n++ x\n", "@@\n--- sql\n+-- SQL\n")).toBe("-- SQL\n++ x\n");
    expect(createdContent("++ x\n+-- y\n")).toBe("+ x\n-- y\n");
  });

  it("makes a file of lines behind a +", () => {
    expect(createdContent("+a\n+\n+b\n")).toBe("a\n\nb\n");
    expect(createdContent("*** Begin Patch\n*** Add File: a\n+a\n*** End Patch\n")).toBe("a\n");
    expect(createdContent("")).toBe("");
  });

  it("is refused where it does not fit, with the line that is not there", () => {
    expect(codeOf(() => updatedContent(FILE, "@@\n-    return 9\n+x\n"))).toMatchObject({
      code: "PATCH_DOES_NOT_APPLY",
      message: 'the file has no line "    return 9"',
    });
    expect(codeOf(() => updatedContent(FILE, "@@\n-def b():\n-def a():\n+x\n")).message).toContain(
      "do not follow",
    );
    expect(codeOf(() => updatedContent(FILE, "return 1\n"))).toMatchObject({ code: "PATCH_INVALID" });
    expect(codeOf(() => updatedContent(FILE, "@@\n"))).toMatchObject({ message: "the diff changes nothing" });
    expect(codeOf(() => createdContent("no plus\n"))).toMatchObject({ code: "PATCH_INVALID" });
  });
});
