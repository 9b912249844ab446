import type { Manifest } from "./record.js";

type Shared = Pick<Manifest, "name" | "digest" | "size_bytes" | "origin">;

/**
 * Bytes of an environment that others of this host have too: its whole image where one of them has the same, else the layers,
 * as registries store them, that are in one of the others.
 */
export function sharedBytes(of: Shared, all: readonly Shared[]): number {
  const others = all.filter(({ name }) => name !== of.name);
  if (others.some(({ digest }) => digest === of.digest)) return of.size_bytes;
  const theirs = new Set(others.flatMap(({ origin }) => origin?.layers.map(({ digest }) => digest) ?? []));
  const shared = (of.origin?.layers ?? []).filter(({ digest }) => theirs.has(digest));
  return shared.reduce((sum, layer) => sum + layer.size_bytes, 0);
}
