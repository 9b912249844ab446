import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { PyroError } from "../../protocol/index.js";

/**
 * A root's layer as it is after a mount and a command: a few clusters of the file system's own records. Kept in this
 * process's memory as long as the template is, so it has a bound.
 */
export const LAYER_BYTES_MAX = 16 * 1024 ** 2;

/** Its digest and size, as a manifest has them. */
export function layerFacts(layer: Buffer): { readonly sha256: string; readonly size_bytes: number } {
  return { sha256: createHash("sha256").update(layer).digest("hex"), size_bytes: layer.length };
}

/**
 * All of a layer's file.
 * @throws {PyroError} VM_SAVE_FAILED when it is larger than such a layer can be; ENOENT and the like
 */
export async function readLayer(path: string): Promise<Buffer> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  if (size > LAYER_BYTES_MAX) {
    throw new PyroError(
      "VM_SAVE_FAILED",
      `the layer ${path} has ${size} bytes, of ${LAYER_BYTES_MAX} at most`,
      {
        hint: "machines of this environment mount it by themselves",
      },
    );
  }
  return await file.readFile();
}

/** What of a layer is not what the manifest says; undefined where all is. */
export function layerDifference(
  expected: { readonly sha256: string; readonly size_bytes: number } | undefined,
  layer: Buffer | undefined,
): string | undefined {
  if (expected === undefined && layer === undefined) return undefined;
  if (expected === undefined || layer === undefined) return "its manifest says nothing of a layer";
  const { sha256, size_bytes } = layerFacts(layer);
  if (size_bytes !== expected.size_bytes)
    return `layer has ${size_bytes} bytes instead of ${expected.size_bytes}`;
  if (sha256 !== expected.sha256) return `layer has SHA-256 ${sha256} instead of ${expected.sha256}`;
  return undefined;
}
