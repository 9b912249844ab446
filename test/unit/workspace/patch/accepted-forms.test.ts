import { describe } from "vitest";
import { takes, type Case } from "./cases.js";

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

describe("patches: headers", () => takes(HEADERS));
describe("patches: what stands around them", () => takes(AROUND));
describe("patches: headers of hunks", () => takes(COUNTS));
