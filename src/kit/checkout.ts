import { lstatSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** A Git checkout, as far as it can be known without git. */
export interface FoundCheckout {
  readonly root: string;
  /** Branch that is checked out, or null where HEAD is a commit or cannot be read. */
  readonly branch: string | null;
}

/**
 * The checkout around a directory, or undefined where there is none. Starts nothing: what has a `.git` with a HEAD is
 * taken for one, as git itself goes on upwards from a `.git` without (gitrepository-layout).
 */
export function findCheckout(directory: string): FoundCheckout | undefined {
  for (let at = resolve(directory); ; at = dirname(at)) {
    const head = headOf(join(at, ".git"));
    if (head !== undefined) return { root: at, branch: /^ref: refs\/heads\/(.+)$/m.exec(head)?.[1] ?? null };
    if (at === dirname(at)) return undefined;
  }
}

/** What HEAD says; undefined where this is no repository. A `.git` that is a file names the real one. */
function headOf(path: string): string | undefined {
  try {
    if (lstatSync(path).isDirectory()) return readFileSync(join(path, "HEAD"), "utf8");
    const named = /^gitdir: (.+)$/m.exec(readFileSync(path, "utf8"))?.[1];
    return named === undefined
      ? undefined
      : readFileSync(join(resolve(dirname(path), named), "HEAD"), "utf8");
  } catch {
    return undefined;
  }
}
