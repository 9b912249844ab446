import { expect, it } from "vitest";
import { FAILPOINTS, prefixOf } from "../failpoints.js";

/**
 * Where the failpoints of each prefix are reached: test/unit/image/pull-faults, test/unit/network/record, test/unit/oci/killed,
 * test/registry/push, test/vm/failpoints, test/vm/registry-pulls for those of images; those of workspaces also with fake
 * machines, in test/unit/workspace/faults.
 */
const REACHED = {
  unit: ["blob", "over", "pull", "rotation"],
  registry: ["push"],
  vm: [
    ...[
      "build",
      "environment",
      "fork",
      "image",
      "layer",
      "machine",
      "memory",
      "network",
      "pool",
      "ports",
      "restore",
      "resume",
      "save",
      "secrets",
      "snapshot",
      "suspend",
      "template",
    ],
    "workspace",
  ],
};

it("Each failpoint has a name of its own, and a prefix that says which generated test reaches it", () => {
  expect(FAILPOINTS.length).toBeGreaterThan(25);
  expect(new Set(FAILPOINTS).size).toBe(FAILPOINTS.length);
  const known = [...REACHED.unit, ...REACHED.registry, ...REACHED.vm];
  expect(FAILPOINTS.filter((name) => !known.includes(prefixOf(name)))).toEqual([]);
});
