import { createHash } from "node:crypto";
import type { EnvironmentConfig } from "../image/index.js";
import type { PlannedStep } from "./plan.js";

/** Changes whenever the same inputs come to something else. */
const FORMAT = 2;

/** The name of a layer: all that its content depends on, and so of what lies below it. 64 hexadecimal digits. */
export function stepKey(below: string, step: PlannedStep, contents: readonly string[]): string {
  return keyOf("step", below, step.action, step.workingDir, step.user, contents);
}

/** The name of a whole build. */
export function buildKey(top: string, config: EnvironmentConfig | undefined): string {
  return keyOf("build", top, config ?? null);
}

/** Objects are made in one place each, so that their fields have one order. */
function keyOf(...parts: readonly unknown[]): string {
  return createHash("sha256")
    .update(JSON.stringify([FORMAT, ...parts]))
    .digest("hex");
}
