import { expect, it } from "vitest";
import { PyroError } from "../../../../src/protocol/index.js";
import { sourceError } from "../../../../src/workspace/seed/errors.js";
import { shown } from "../../../../src/workspace/seed/path.js";
import { withoutCredentials } from "../../../../src/kit/index.js";

const systemError = (code: string): Error => Object.assign(new Error(code), { code });

it.each([
  ["EACCES", "SEED_UNREADABLE", "chmod"],
  ["EIO", "SEED_UNREADABLE", "without it"],
  ["ENOENT", "SEED_CHANGED", "try again"],
  ["ELOOP", "SEED_CHANGED", "try again"],
  ["EMFILE", "TOO_MANY_FILES", "ulimit"],
])("%s of a file of the source is %s, with the file and the way out", (errno, code, hint) => {
  const error = sourceError("dir/file", systemError(errno));
  expect(error.code).toBe(code);
  expect(error.hint).toContain(hint);
  if (code.startsWith("SEED")) expect(error.message).toContain('"dir/file"');
  expect(sourceError("other", error)).toBe(error);
  expect(error).toBeInstanceOf(PyroError);
});

it.each([
  ["plain", '"plain"'],
  ["a\nb\u001b[2J", '"a\\nb\\u001b[2J"'],
  [Buffer.from("größe \u202etxt").toString("latin1"), '"größe \\u202etxt"'],
  ["caf\xe9", '"caf\ufffd"'],
  ["x".repeat(500), `"${"x".repeat(300)}…"`],
])("shows the name %j so that it harms no terminal", (name, text) => {
  expect(shown(name)).toBe(text);
});

it.each([
  ["https://user:pass@host/x.git", "https://host/x.git"],
  ["https://token@host/x.git?private_token=1", "https://host/x.git"],
  ["ssh://git@host/x", "ssh://host/x"],
  ["git@host:x/y.git", "git@host:x/y.git"],
  ["https://host/@scope/x", "https://host/@scope/x"],
  ["https://u:p@ss@host/x", "https://host/x"],
])("shows the URL %s without credentials", (url, clean) => {
  expect(withoutCredentials(url)).toBe(clean);
});
