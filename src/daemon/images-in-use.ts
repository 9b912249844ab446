import type { Workspace } from "../workspace/index.js";

/** Which images running machines lie on: those files stay, whatever is pruned or made anew. */
export class ImagesInUse {
  readonly #counts = new Map<string, number>();

  get digests(): ReadonlySet<string> {
    return new Set(this.#counts.keys());
  }

  /** Keeps the image until the result is disposed of. */
  hold(digest: string): Disposable {
    this.#counts.set(digest, (this.#counts.get(digest) ?? 0) + 1);
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        const rest = (this.#counts.get(digest) ?? 0) - 1;
        if (rest > 0) this.#counts.set(digest, rest);
        else this.#counts.delete(digest);
      },
    };
  }
}

/** Who uses an image, for people: workspaces, also those that are stopped, and machines that belong to none. */
export function usersOf(
  digest: string,
  workspaces: readonly Pick<Workspace, "record">[],
  inUse: ImagesInUse,
): readonly string[] {
  const using = workspaces
    .filter(({ record }) => record.imageDigest === digest)
    .map(({ record: { workspaceId, name } }) => (name === null ? workspaceId : `${workspaceId} (${name})`));
  return using.length === 0 && inUse.digests.has(digest) ? ["a machine that runs"] : using;
}
