import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { blocksOf, callsOf, projectFiles, useCaseEnvironment } from "./use-case.js";

/** A small repository whose test fails, and the patch that mends it. */
export interface BrokenProject {
  readonly language: string;
  readonly environment: string;
  readonly files: Readonly<Record<string, string>>;
  /** What its user does once in the checkout, and what `pyro mcp serve` is told of that. */
  readonly prepare?: (checkout: string) => Promise<unknown>;
  readonly flags?: readonly string[];
  readonly testCommand: string;
  /** What the failing test says, and the exit status of its runner. */
  readonly failure: string;
  readonly failedStatus: number;
  readonly success: string;
  /** The file with the fault, and a line of it before and after. */
  readonly path: string;
  readonly wrong: string;
  readonly right: string;
  readonly patch: string;
  /** The diff's first line once the tests ran. */
  readonly changes: string;
}

export const PYTHON_PROJECT: BrokenProject = {
  language: "Python",
  environment: useCaseEnvironment(),
  files: projectFiles("intervals"),
  testCommand: "python3 -B -m unittest",
  failure: "AssertionError: Lists differ: [(1, 3)] != [(1, 9)]",
  failedStatus: 1,
  success: "Ran 2 tests",
  path: "intervals.py",
  wrong: "            result[-1] = (result[-1][0], high)\n",
  right: "            result[-1] = (result[-1][0], max(high, result[-1][1]))\n",
  patch: [
    `--- a/intervals.py`,
    `+++ b/intervals.py`,
    `@@ -6,5 +6,5 @@`,
    `     result = []`,
    `     for low, high in sorted(intervals):`,
    `         if result and low <= result[-1][1] + 1:`,
    `-            result[-1] = (result[-1][0], high)`,
    `+            result[-1] = (result[-1][0], max(high, result[-1][1]))`,
    `         else:`,
    ``,
  ].join("\n"),
  changes: "1 changed: 0 added, 1 modified, 0 deleted, 0 renamed; +1 -1",
};

export const C_PROJECT: BrokenProject = {
  language: "C",
  environment: useCaseEnvironment({ compiler: true }),
  files: projectFiles("ring"),
  testCommand: "make test",
  failure: "not ok: put 4, got ",
  failedStatus: 2,
  success: "ok: 10 bytes went round",
  path: "ring.c",
  wrong: "\treturn ring->bytes[ring->head++];\n",
  right: "\treturn ring->bytes[ring->head++ % RING_SIZE];\n",
  patch: [
    `diff --git a/ring.c b/ring.c`,
    `--- a/ring.c`,
    `+++ b/ring.c`,
    `@@ -13,5 +13,5 @@ int ring_get(struct ring *ring)`,
    ` \tif (ring->count == 0)`,
    ` \t\treturn -1;`,
    ` \tring->count--;`,
    `-\treturn ring->bytes[ring->head++];`,
    `+\treturn ring->bytes[ring->head++ % RING_SIZE];`,
    ` }`,
    ``,
  ].join("\n"),
  // The program that make built is there too.
  changes: "2 changed: 1 added, 1 modified, 0 deleted, 0 renamed; +1 -1, 1 binary",
};

const NODE_PAGE = "node-project";
const [, connectLine = ""] = blocksOf(NODE_PAGE, "sh");
const [, [, nodeTest] = []] = callsOf(NODE_PAGE);

/** As docs/use-cases/node-project.md has it. */
export const NODE_PROJECT: BrokenProject = {
  language: "Node",
  environment: useCaseEnvironment(),
  files: projectFiles("durations"),
  // Node itself comes with it.
  prepare: (cwd) => promisify(execFile)("npm", ["install", "--no-package-lock"], { cwd }),
  flags: /pyro mcp serve (.*)$/m.exec(connectLine)?.[1]?.split(" ") ?? [],
  testCommand: String(nodeTest?.["command"]),
  failure: "1200 !== 120",
  failedStatus: 1,
  success: "# pass 1",
  path: "seconds.js",
  wrong: "export const seconds = (text) => ms(text) / 100;\n",
  right: "export const seconds = (text) => ms(text) / 1000;\n",
  patch: [
    `--- a/seconds.js`,
    `+++ b/seconds.js`,
    `@@ -1,3 +1,3 @@`,
    ` import ms from "ms";`,
    ` `,
    `-export const seconds = (text) => ms(text) / 100;`,
    `+export const seconds = (text) => ms(text) / 1000;`,
    ``,
  ].join("\n"),
  changes: "1 changed: 0 added, 1 modified, 0 deleted, 0 renamed; +1 -1",
};
