import { realpathSync } from "node:fs";
import { lstat, readlink, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { PyroError } from "../protocol/index.js";

/** Like the kernel's own bound (path_resolution(7)). */
const LINKS_MAX = 40;

/** The directories of the host that tools may read seeds from and export to. */
export class HostRoots {
  /** @param roots with all links resolved; @param base what relative paths are relative to */
  constructor(
    private readonly roots: readonly string[],
    private readonly base: string,
  ) {}

  /**
   * A path with all links followed, proven to lie under a root. What does not exist yet is taken below the part that
   * does.
   * @throws {PyroError} HOST_PATH_NOT_ALLOWED, INVALID_ARGUMENT
   */
  async resolve(path: string): Promise<string> {
    if (path.includes("\0"))
      throw new PyroError("INVALID_ARGUMENT", "a host path holds a NUL byte", { hint: "leave it out" });
    const found = await followed(resolve(this.base, path), LINKS_MAX);
    if (found !== undefined && this.roots.some((root) => isUnder(root, found))) return found;
    const at = found === undefined || found === path ? "" : ` (${found})`;
    throw new PyroError(
      "HOST_PATH_NOT_ALLOWED",
      `the host path ${JSON.stringify(path)}${at} is not under a root of this server`,
      { hint: this.#hint(found ?? path), details: { path, roots: this.roots } },
    );
  }

  #hint(path: string): string {
    const wanted = [...this.roots, dirname(path)].map((root) => `--host-root ${root}`).join(" ");
    const there =
      this.roots.length === 0
        ? "no path of the host is allowed"
        : `take a path under ${this.roots.join(" or ")}`;
    return `${there}; or the user starts the server with \`pyro mcp serve ${wanted}\``;
  }
}

/** A path without links where it exists, else as it is. */
export function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

function isUnder(root: string, path: string): boolean {
  return path === root || path.startsWith(root === "/" ? "/" : `${root}/`);
}

/** All links followed; undefined where they lead nowhere. A link whose target is missing counts as its target. */
async function followed(path: string, linksLeft: number): Promise<string | undefined> {
  if (linksLeft === 0) return undefined;
  try {
    return await realpath(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" || path === "/") return undefined;
  }
  const parent = await followed(dirname(path), linksLeft);
  if (parent === undefined) return undefined;
  const at = join(parent, basename(path));
  const isLink = await lstat(at).then(
    (info) => info.isSymbolicLink(),
    () => false,
  );
  if (!isLink) return at;
  const target = await readlink(at);
  return await followed(isAbsolute(target) ? target : resolve(parent, target), linksLeft - 1);
}
