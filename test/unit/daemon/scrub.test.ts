import { expect, it } from "vitest";
import { scrub } from "../../../src/daemon/scrub.js";
import type { GuestConnection } from "../../../src/guest/index.js";

it("overwrites what the agent freed, then the buffers of its port, and waits until they are", async () => {
  const calls: string[] = [];
  let flooded = 0;
  const guest = {
    system: { scrub: () => void calls.push("scrub") },
    diagnostics: {
      drain: async ({ expectBytes }: { expectBytes: bigint }) => {
        calls.push(`drain ${expectBytes}`);
        while (flooded < Number(expectBytes)) await new Promise((resolve) => setTimeout(resolve, 1));
        calls.push("drained");
      },
    },
    floodProbe: async (bytes: number) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      calls.push(`flood ${bytes}`);
      flooded += bytes;
    },
  };
  await scrub(guest as unknown as GuestConnection);
  // Bytes of an earlier flood do not count.
  expect(calls).toEqual(["scrub", "drain 0", "drained", "drain 2097152", "flood 2097152", "drained"]);
});
