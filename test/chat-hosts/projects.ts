/** A small repository whose test fails, and the patch that mends it. */
export interface BrokenProject {
  readonly language: string;
  readonly environment: string;
  readonly files: Readonly<Record<string, string>>;
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

const PYTHON_FILES = {
  "intervals.py": [
    `"""Intervals of whole numbers, both ends included."""`,
    ``,
    ``,
    `def merged(intervals):`,
    `    """Joins intervals that overlap or touch."""`,
    `    result = []`,
    `    for low, high in sorted(intervals):`,
    `        if result and low <= result[-1][1] + 1:`,
    `            result[-1] = (result[-1][0], high)`,
    `        else:`,
    `            result.append((low, high))`,
    `    return result`,
    ``,
  ].join("\n"),
  "tests/__init__.py": "",
  "tests/test_intervals.py": [
    `import unittest`,
    ``,
    `from intervals import merged`,
    ``,
    ``,
    `class Merged(unittest.TestCase):`,
    `    def test_neighbours_are_joined(self):`,
    `        self.assertEqual(merged([(4, 6), (1, 3)]), [(1, 6)])`,
    ``,
    `    def test_an_interval_inside_of_another_adds_nothing(self):`,
    `        self.assertEqual(merged([(1, 9), (2, 3)]), [(1, 9)])`,
    ``,
  ].join("\n"),
  ".gitignore": "__pycache__/\n",
};

export const PYTHON_PROJECT: BrokenProject = {
  language: "Python",
  environment: "debian:12",
  files: PYTHON_FILES,
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

const C_FILES = {
  Makefile: [
    `CFLAGS = -O1 -Wall -Werror`,
    ``,
    `test: check`,
    `\t./check`,
    ``,
    `check: check.c ring.c ring.h`,
    `\t$(CC) $(CFLAGS) -o $@ check.c ring.c`,
    ``,
  ].join("\n"),
  "ring.h": [
    `/* A queue of at most RING_SIZE bytes. */`,
    `#define RING_SIZE 4`,
    `struct ring { unsigned char bytes[RING_SIZE]; unsigned head, count; };`,
    `int ring_put(struct ring *ring, unsigned char byte);`,
    `int ring_get(struct ring *ring);`,
    ``,
  ].join("\n"),
  "ring.c": [
    `#include "ring.h"`,
    ``,
    `int ring_put(struct ring *ring, unsigned char byte)`,
    `{`,
    `\tif (ring->count == RING_SIZE)`,
    `\t\treturn -1;`,
    `\tring->bytes[(ring->head + ring->count++) % RING_SIZE] = byte;`,
    `\treturn 0;`,
    `}`,
    ``,
    `int ring_get(struct ring *ring)`,
    `{`,
    `\tif (ring->count == 0)`,
    `\t\treturn -1;`,
    `\tring->count--;`,
    `\treturn ring->bytes[ring->head++];`,
    `}`,
    ``,
  ].join("\n"),
  "check.c": [
    `#include <stdio.h>`,
    `#include "ring.h"`,
    ``,
    `int main(void)`,
    `{`,
    `\tstruct ring ring = {{0}, 0, 0};`,
    `\tfor (int i = 0; i < 10; i++) {`,
    `\t\tring_put(&ring, i);`,
    `\t\tint got = ring_get(&ring);`,
    `\t\tif (got != i) {`,
    `\t\t\tprintf("not ok: put %d, got %d\\n", i, got);`,
    `\t\t\treturn 1;`,
    `\t\t}`,
    `\t}`,
    `\tputs("ok: ten bytes went round");`,
    `\treturn 0;`,
    `}`,
    ``,
  ].join("\n"),
};

export const C_PROJECT: BrokenProject = {
  language: "C",
  environment: "debian:12-build",
  files: C_FILES,
  testCommand: "make test",
  failure: "not ok: put 4, got ",
  failedStatus: 2,
  success: "ok: ten bytes went round",
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
