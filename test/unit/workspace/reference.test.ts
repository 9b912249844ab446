import { expect, test } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { resolveReference } from "../../../src/workspace/reference.js";

const known = [
  { id: "ws-aaaa000000000001", name: "fix" },
  { id: "ws-aaaa000000000002", name: "bbbb" },
  { id: "ws-bbbb000000000003", name: null },
  { id: "ws-cccc000000000004", name: "ws-aaaa000000000001" },
];
const idOf = (reference: string): string => resolveReference(reference, known).id;

test.each([
  ["ws-aaaa000000000001", "ws-aaaa000000000001"],
  ["ws-aaaa000000000002", "ws-aaaa000000000002"],
  ["ws-b", "ws-bbbb000000000003"],
  ["cccc", "ws-cccc000000000004"],
  ["fix", "ws-aaaa000000000001"],
])("%s means %s: an id wins over all else, prefixes go with or without ws-", (reference, id) => {
  expect(idOf(reference)).toBe(id);
});

test.each([
  ["ws-aaaa", ["ws-aaaa000000000001", "ws-aaaa000000000002"]],
  ["bbbb", ["ws-aaaa000000000002", "ws-bbbb000000000003"]],
])("%s fits several, which are named", (reference, ids) => {
  const thrown = ((): unknown => {
    try {
      return idOf(reference);
    } catch (error) {
      return error;
    }
  })();
  expect(thrown).toMatchObject({ code: "AMBIGUOUS_REFERENCE", details: { workspace_ids: ids } });
});

test.each(["", "ws-", "fi", "FIX", "ws-dddd", "x".repeat(500)])("%s fits none", (reference) => {
  expect(() => idOf(reference)).toThrow(PyroError);
  expect(() => idOf(reference)).toThrow(expect.objectContaining({ code: "WORKSPACE_NOT_FOUND" }));
});
