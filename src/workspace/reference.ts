import { PyroError } from "../protocol/index.js";

/** What a workspace can be called by. */
export interface Referable {
  readonly id: string;
  readonly name: string | null;
}

/** Ids begin with this; a prefix may leave it out. */
const ID_PREFIX = "ws-";

/**
 * The one that a reference means: an id, a unique prefix of an id, or a unique name (contract section 1).
 * @throws {PyroError} WORKSPACE_NOT_FOUND, AMBIGUOUS_REFERENCE with the ids that fit
 */
export function resolveReference<T extends Referable>(reference: string, known: readonly T[]): T {
  const exact = known.find(({ id }) => id === reference);
  if (exact !== undefined) return exact;
  const bare = reference.startsWith(ID_PREFIX) ? reference.slice(ID_PREFIX.length) : reference;
  const fits = known.filter(
    ({ id, name }) => name === reference || (bare !== "" && id.slice(ID_PREFIX.length).startsWith(bare)),
  );
  const [first, ...others] = fits;
  if (first !== undefined && others.length === 0) return first;
  const shown = JSON.stringify(reference.slice(0, 80));
  if (first === undefined) {
    throw new PyroError("WORKSPACE_NOT_FOUND", `there is no workspace ${shown}`, {
      hint:
        known.length === 0
          ? "there are none; `pyro workspace create debian:12` makes one"
          : "`pyro workspace list` shows those that there are",
    });
  }
  const ids = fits.map(({ id }) => id);
  throw new PyroError(
    "AMBIGUOUS_REFERENCE",
    `${shown} fits ${ids.length} workspaces: ${ids.slice(0, 10).join(", ")}`,
    {
      hint: "give the whole id, or more of it",
      details: { workspace_ids: ids },
    },
  );
}
