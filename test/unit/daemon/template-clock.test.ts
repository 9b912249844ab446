import { expect, it } from "vitest";
import { clockRate } from "../../../src/daemon/template-build.js";

it.each([
  ["a clock that is right", { kernelMs: 1800, agentMs: 200 }, 2500, 0.8],
  ["one that runs twelve times too fast", { kernelMs: 22_000, agentMs: 2_000 }, 2000, 12],
  ["an agent that says nothing", undefined, 2000, 0],
] as const)("The rate of %s is told by what the boot took on both sides", (_, boot, bootMs, rate) => {
  expect(clockRate(boot, bootMs)).toBeCloseTo(rate);
});
