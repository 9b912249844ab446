import type { Dirent } from "node:fs";
import { sourceError } from "./errors.js";
import type { HostDirectory, HostTree } from "./host-tree.js";
import { joined, shown, textOf } from "./path.js";
import type { SeedTally } from "./tally.js";

/** Something of the source that is to go into the seed. Whoever receives it releases its directory. */
export type Found =
  /** A directory; it is open. */
  | { readonly kind: "directory"; readonly path: string; readonly directory: HostDirectory }
  /** Something in an open directory: what it was said to be when the directory was listed. */
  | {
      readonly kind: "file" | "link" | "either";
      readonly path: string;
      readonly directory: HostDirectory;
      readonly name: string;
    };

/**
 * Everything below a directory, itself first unless it is the top: what is no directory in byte order, then the
 * directories. What is neither file, directory nor link is left out with a warning.
 */
export async function* walk(
  tree: HostTree,
  top: string,
  tally: SeedTally,
): AsyncGenerator<Found, void, void> {
  const waiting = [top];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const path = next;
    const directory = await tree.directory(path).catch((error: unknown) => {
      throw sourceError(path, error);
    });
    try {
      if (path !== "") yield { kind: "directory", path, directory: directory.hold() };
      const below: string[] = [];
      for (const each of await list(directory)) {
        const child = joined(path, each.name);
        if (each.kind === "directory") below.push(child);
        else if (each.kind === "other") tally.warn(`left out ${shown(child)}: ${each.what}`);
        else yield { kind: each.kind, path: child, directory: directory.hold(), name: each.name };
      }
      waiting.push(...below.reverse());
    } finally {
      await directory.release();
    }
  }
}

type Listed =
  | { readonly name: string; readonly kind: "file" | "link" | "directory" }
  | { readonly name: string; readonly kind: "other"; readonly what: string };

async function list(directory: HostDirectory): Promise<Listed[]> {
  const children = await directory.list().catch((error: unknown) => {
    throw sourceError(directory.path, error);
  });
  const listed = children.map((child) => listedOf(child));
  return listed.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function listedOf(child: Dirent<Buffer>): Listed {
  const name = textOf(child.name);
  if (child.isFile()) return { name, kind: "file" };
  if (child.isDirectory()) return { name, kind: "directory" };
  if (child.isSymbolicLink()) return { name, kind: "link" };
  const what = child.isFIFO() ? "it is a FIFO" : child.isSocket() ? "it is a socket" : "it is a device";
  return { name, kind: "other", what };
}
