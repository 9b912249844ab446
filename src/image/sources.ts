/** One source of the host's apt configuration, reduced to what a pull takes over. */
export interface AptSource {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Keyring paths or an armoured key, as the host's configuration has it. */
  readonly signedBy?: string;
  /** "no" where the host says so, as those do who pin a snapshot of the archive. */
  readonly checkValidUntil?: string;
}

/** Reads sources in apt's one-line format (sources.list(5)); lines that are none are skipped. */
export function parseSourcesList(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split("\n")) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (match === null) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const fields = new Map(
      options.split(/\s+/).map((each): [string, string] => {
        const at = each.indexOf("=");
        return [each.slice(0, Math.max(at, 0)).toLowerCase(), each.slice(at + 1)];
      }),
    );
    sources.push(toSource([uri], [suite], words(components), fields));
  }
  return sources;
}

/** Reads sources in deb822 format (sources.list(5)); stanzas that are disabled or hold no binaries are skipped. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const stanza of text.split(/\n(?:[ \t]*\n)+/)) {
    const fields = parseStanza(stanza);
    if (!words(fields.get("types")).includes("deb")) continue;
    if (/^(no|false|without|off|disable)$/i.test(fields.get("enabled") ?? "")) continue;
    sources.push(
      toSource(
        words(fields.get("uris")),
        words(fields.get("suites")),
        words(fields.get("components")),
        fields,
      ),
    );
  }
  return sources;
}

function parseStanza(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name: string | undefined;
  for (const line of stanza.split("\n")) {
    if (line.startsWith("#")) continue;
    const match = /^([A-Za-z-]+):[ \t]*(.*)$/.exec(line);
    if (match?.[1] !== undefined) {
      name = match[1].toLowerCase();
      fields.set(name, match[2] ?? "");
    } else if (/^[ \t]/.test(line) && name !== undefined) {
      fields.set(name, `${fields.get(name) ?? ""}\n${line}`);
    }
  }
  return fields;
}

function toSource(
  uris: string[],
  suites: string[],
  components: string[],
  fields: ReadonlyMap<string, string>,
): AptSource {
  const signedBy = fields.get("signed-by");
  const checkValidUntil = fields.get("check-valid-until");
  return {
    uris,
    suites,
    components,
    ...(signedBy === undefined ? {} : { signedBy }),
    ...(checkValidUntil === undefined ? {} : { checkValidUntil }),
  };
}

function words(text: string | undefined): string[] {
  return (text ?? "").split(/\s+/).filter((word) => word !== "");
}

/** Names under which Debian's own suites go; a third party's suite is seldom called so. */
const SUITE =
  /^(?:stable|oldstable|oldoldstable|testing|unstable|sid|buster|bullseye|bookworm|trixie|forky|duke)(-updates|-security|\/updates)?$/;

/**
 * The host's Debian sources, for another suite: the mirrors and keys stay, the suite's name is replaced. Sources whose
 * origin is known and is not Debian are left out, and so are backports and the like.
 * @param originOf what the host's own lists say about a URI, undefined where they say nothing
 */
export function sourcesForSuite(
  sources: readonly AptSource[],
  suite: string,
  originOf: (uri: string) => string | undefined,
): AptSource[] {
  const result: AptSource[] = [];
  for (const source of sources) {
    const uris = source.uris.filter((uri) => {
      const origin = originOf(uri);
      return (origin === undefined || origin === "Debian") && !uri.startsWith("cdrom:");
    });
    const suites = new Set<string>();
    for (const each of source.suites) {
      const match = SUITE.exec(each);
      if (match === null) continue;
      const [, suffix = ""] = match;
      suites.add(`${suite}${suffix === "/updates" ? "-security" : suffix}`);
    }
    if (uris.length === 0 || suites.size === 0 || !source.components.includes("main")) continue;
    result.push({ ...source, uris, suites: [...suites], components: ["main"] });
  }
  return result;
}

/** The sources in deb822 format. */
export function formatSources(sources: readonly AptSource[]): string {
  return sources
    .map((source) => {
      const lines = [
        "Types: deb",
        `URIs: ${source.uris.join(" ")}`,
        `Suites: ${source.suites.join(" ")}`,
        `Components: ${source.components.join(" ")}`,
      ];
      if (source.signedBy !== undefined) lines.push(`Signed-By: ${source.signedBy}`);
      if (source.checkValidUntil !== undefined) lines.push(`Check-Valid-Until: ${source.checkValidUntil}`);
      return `${lines.join("\n")}\n`;
    })
    .join("\n");
}
