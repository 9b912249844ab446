import { createHash } from "node:crypto";
import type { Isolation } from "../driver.js";

/** Of the files of a template, and of what a machine does before it is saved. */
export const TEMPLATE_FORMAT = 1;

/** What machines of one template have in common. */
export interface TemplateShape {
  readonly vcpuCount: number;
  readonly memMib: number;
  /** Virtual size of each disk: the writable /dev/vda, then read-only slots /dev/vdb, … */
  readonly diskBytes: readonly number[];
  readonly isolation: Isolation;
  /** Of which environment the root is mounted, as a layer of its own over this image. Absent: none, it serves all of them. */
  readonly mounted?: MountedImage;
}

/** An environment's image: what it holds, and where it is. */
export interface MountedImage {
  readonly digest: string;
  readonly path: string;
  /** When it was made: the time in which it is mounted for a template. */
  readonly createdAtMs: number;
  /** Whom /workspace belongs to, as the image names its user; default: root. */
  readonly workspaceUser?: string;
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
export function shapeName({ vcpuCount, memMib, diskBytes, isolation, mounted }: TemplateShape): string {
  return JSON.stringify([
    ...[isolation, vcpuCount, memMib, ...diskBytes],
    ...(mounted === undefined ? [] : [mounted.digest, mounted.workspaceUser ?? ""]),
  ]);
}

/** The shape without an environment: what one with it is made from, and what its machines are saved as. */
export function plainShape({ vcpuCount, memMib, diskBytes, isolation }: TemplateShape): TemplateShape {
  return { vcpuCount, memMib, diskBytes, isolation };
}
