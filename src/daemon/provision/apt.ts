import { formatSources, type AptSource } from "../../image/index.js";
import { uselessBecause } from "./usable.js";

/** Sources for a machine's apt, in deb822 format; empty where there are none. */
export interface GuestSources {
  readonly text: string;
  readonly warnings: readonly string[];
}

/** In every Debian, as apt itself needs it. */
const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Those of the host's sources that a machine can use: without credentials, and signed by keys that it has or that come along. */
export function guestSources(sources: readonly AptSource[]): GuestSources {
  const warnings = new Set<string>();
  const usable = sources.flatMap((source) => {
    const { signedBy: hosts, ...rest } = source;
    const signedBy = keysFor(hosts);
    if (signedBy === "")
      warnings.add(`machines do not get ${kindOf(source)}: its keyring is only on the host`);
    const uris = source.uris.filter((uri) => {
      const why = uselessBecause(uri);
      if (why !== undefined) warnings.add(`machines do not get ${kindOf(source)}: ${why}`);
      return why === undefined;
    });
    if (uris.length === 0 || signedBy === "") return [];
    return [{ ...rest, uris, ...(signedBy === undefined ? {} : { signedBy }) }];
  });
  return { text: formatSources(usable), warnings: [...warnings] };
}

/** What signs it in the machine; undefined: what its apt trusts by itself; empty: nothing there. */
function keysFor(signedBy: string | undefined): string | undefined {
  if (signedBy === undefined || signedBy.includes("BEGIN PGP PUBLIC KEY BLOCK")) return signedBy;
  const paths = signedBy.split(/[\s,]+/).filter((path) => path !== "");
  const isDebians =
    paths.length > 0 && paths.every((path) => /\/debian-archive-[\w-]+\.(gpg|pgp|asc)$/.test(path));
  return isDebians ? DEBIAN_KEYRING : "";
}

function kindOf({ suites }: AptSource): string {
  return `an apt source of ${suites.join(" ")}`;
}
