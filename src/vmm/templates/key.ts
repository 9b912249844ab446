import { createHash } from "node:crypto";
import type { Isolation } from "../driver.js";

/** Of the files of a template, and of what a machine does before it is saved. */
export const TEMPLATE_FORMAT = 1;

/** What machines of one template have in common. Which environment their disks hold is not in it: none is mounted. */
export interface TemplateShape {
  readonly vcpuCount: number;
  readonly memMib: number;
  /** Virtual size of each disk: the writable /dev/vda, then read-only slots /dev/vdb, … */
  readonly diskBytes: readonly number[];
  readonly isolation: Isolation;
}

/** What else a saved machine's memory rests on; where any of it differs, it must not be restored. */
export interface TemplateGround {
  /** VmmDriver.fingerprint of the shape. */
  readonly vmm: string;
  /** RuntimeBundle.digest. */
  readonly bundleDigest: string;
}

/** Name of the template for a shape on this ground: 64 hexadecimal digits. */
export function templateKey(shape: TemplateShape, ground: TemplateGround): string {
  const { vmm, bundleDigest } = ground;
  return createHash("sha256")
    .update(JSON.stringify([TEMPLATE_FORMAT, shapeName(shape), vmm, bundleDigest]))
    .digest("hex");
}

/** Equal for equal shapes. */
export function shapeName({ vcpuCount, memMib, diskBytes, isolation }: TemplateShape): string {
  return JSON.stringify([isolation, vcpuCount, memMib, ...diskBytes]);
}
