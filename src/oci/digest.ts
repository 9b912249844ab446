import { createHash } from "node:crypto";

/** "sha256:" and 64 lower-case hexadecimal digits; nothing else has this type. */
export type Digest = string & { readonly __digest: unique symbol };

/**
 * A digest by the grammar of the OCI image specification (descriptor.md, "Digests"), or a text that says why it is none.
 * SHA-256 is the only algorithm that registries must offer, and the only one taken here.
 */
export function parseDigest(text: string): Digest | { readonly problem: string } {
  if (/^sha256:[0-9a-f]{64}$/.test(text)) return text as Digest;
  const algorithm = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):[0-9A-Za-z=_-]+$/.exec(text)?.[1];
  if (algorithm === undefined) return { problem: "it is no digest" };
  if (algorithm !== "sha256") return { problem: `its algorithm is ${algorithm.slice(0, 20)}, not sha256` };
  return { problem: "a sha256 digest has 64 lower-case hexadecimal digits" };
}

export function isDigest(value: ReturnType<typeof parseDigest>): value is Digest {
  return typeof value === "string";
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}` as Digest;
}

/** The hexadecimal part: a file's name in the store. */
export function hexOf(digest: Digest): string {
  return digest.slice("sha256:".length);
}

/** For messages and progress: enough to tell layers apart. */
export function shortDigest(digest: Digest): string {
  return `sha256:${hexOf(digest).slice(0, 12)}`;
}
