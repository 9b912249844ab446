import { rename, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fingerprintOf, sameFingerprint, sha256File, shown } from "../../../src/kit/index.js";
import { temporaryState } from "../../fakes/state-directory.js";

test("a file that was written to has another fingerprint, also with its old size and times", async () => {
  await using state = await temporaryState();
  const path = join(state.path, "file");
  await writeFile(path, "abc");
  const before = await fingerprintOf(path);
  expect(sameFingerprint(before, await fingerprintOf(path))).toBe(true);
  const mtime = new Date(1_700_000_000_000);
  await utimes(path, mtime, mtime);
  const touched = await fingerprintOf(path);
  await writeFile(path, "abd");
  await utimes(path, mtime, mtime);
  const written = await fingerprintOf(path);
  expect(written).toMatchObject({ size: touched.size, mtime_ns: touched.mtime_ns, ino: touched.ino });
  expect(sameFingerprint(touched, written)).toBe(false);
});

test("a file's SHA-256 is that of its content, wherever it lies", async () => {
  await using state = await temporaryState();
  await writeFile(join(state.path, "one"), "abc");
  await rename(join(state.path, "one"), join(state.path, "other"));
  // FIPS 180-4's own example.
  expect(await sha256File(join(state.path, "other"))).toBe(
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

test("a text of anybody's is shown in one line, escaped and cut", () => {
  expect(shown("a\n\u001b[2J\u202eb")).toBe('"a\\n\\u001b[2J\\u{202e}b"');
  expect(shown("x".repeat(100))).toBe(`"${"x".repeat(80)}…"`);
});
