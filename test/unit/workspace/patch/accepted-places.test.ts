import { describe } from "vitest";
import { takes, type Case } from "./cases.js";

const TEN = Array.from({ length: 10 }, (_, i) => `${i + 1}\n`).join("");

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

describe("patches: places", () => takes(PLACES));
describe("patches: line endings", () => takes(ENDINGS));
