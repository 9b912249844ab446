import { formatReference, parseReference } from "../oci/index.js";
import { PyroError } from "../protocol/index.js";
import type { Catalogue, EnvironmentRecipe } from "./catalogue.js";

/** What a name stands for, wherever it may be. */
export interface KnownName {
  /** The one spelling of it, under which its manifest is kept. */
  readonly name: string;
  /** Of a curated one; any other name is an image's reference, or was given to an environment of this host. */
  readonly recipe?: EnvironmentRecipe;
}

/** Names that a user may give: what an image's short name may be, so that it is also one for registries. */
const OWN_NAME = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?::\w[\w.-]{0,127})?$/;
const OWN_NAME_CHARS_MAX = 200;

/**
 * The spelling under which a name is kept: a curated one's is its own, an image's has its registry.
 * @throws {PyroError} UNKNOWN_ENVIRONMENT for what can be neither, which lists the curated ones
 */
export function knownName(catalogue: Catalogue, text: string): KnownName {
  const recipe = catalogue.environments.get(text);
  if (recipe !== undefined) return { name: text, recipe };
  try {
    return { name: formatReference(parseReference(text)) };
  } catch (error) {
    const { message, hint } = PyroError.from(error);
    const known = [...catalogue.environments.keys()];
    throw new PyroError("UNKNOWN_ENVIRONMENT", `there is no environment of this name: ${message}`, {
      hint: `${hint}; or choose one of ${known.join(", ")} (\`pyro env list\`)`,
      details: { known },
    });
  }
}

/** @param option the one that replaces what has the name */
export function environmentExists(name: string, option: "--overwrite" | "--force"): PyroError {
  return new PyroError("ENVIRONMENT_EXISTS", `there is an environment "${name}" already`, {
    hint: `choose another name, replace it with ${option}, or delete it: \`pyro env delete ${name}\``,
    details: { environment: name },
  });
}

/**
 * Whether an environment of this host may be called so.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function requireOwnName(catalogue: Catalogue, name: string): void {
  if (catalogue.environments.has(name)) {
    throw new PyroError("INVALID_ARGUMENT", `${name} is one of pyro's own environments`, {
      hint: "choose another name, such as my-tools:1",
    });
  }
  if (name.length <= OWN_NAME_CHARS_MAX && OWN_NAME.test(name)) return;
  throw new PyroError(
    "INVALID_ARGUMENT",
    `an environment cannot be called ${JSON.stringify(name.slice(0, 100))}`,
    {
      hint: "a name has lower-case letters and digits, joined by ., _ or -, and may end with a colon and a tag: my-tools:1",
    },
  );
}
