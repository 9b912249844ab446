import { describe, expect, it } from "vitest";
import { formatSources, parseDeb822, parseSourcesList, sourcesForSuite } from "../../../src/image/sources.js";

const unknown = (): undefined => undefined;

describe("the host's package sources", () => {
  it("are read from one-line lists, with their options, and lines that are none are skipped", () => {
    const text = [
      "# a comment",
      "deb [arch=amd64 signed-by=/k.gpg] http://m.test/debian bookworm main contrib # why",
      "deb-src http://m.test/debian bookworm main",
      "#deb http://old.test/debian bookworm main",
      "deb http://s.test/debian-security bookworm-security main",
    ].join("\n");
    expect(parseSourcesList(text)).toEqual([
      {
        uris: ["http://m.test/debian"],
        suites: ["bookworm"],
        components: ["main", "contrib"],
        signedBy: "/k.gpg",
      },
      { uris: ["http://s.test/debian-security"], suites: ["bookworm-security"], components: ["main"] },
    ]);
  });

  it("are read from deb822 files, with embedded keys, without disabled and source-only stanzas", () => {
    const text = [
      "# comment",
      "Types: deb deb-src",
      "URIs: http://m.test/debian",
      "Suites: trixie trixie-updates",
      "Components: main",
      "Signed-By:",
      " -----BEGIN PGP PUBLIC KEY BLOCK-----",
      " .",
      " abc",
      "",
      "Enabled: no",
      "Types: deb",
      "URIs: http://no.test/",
      "Suites: trixie",
      "Components: main",
      "",
      "Types: deb-src",
      "URIs: http://src.test/",
      "Suites: trixie",
      "Components: main",
    ].join("\n");
    const sources = parseDeb822(text);
    expect(sources).toHaveLength(1);
    expect(sources[0]).toMatchObject({ suites: ["trixie", "trixie-updates"] });
    expect(formatSources(sources)).toBe(
      "Types: deb\nURIs: http://m.test/debian\nSuites: trixie trixie-updates\nComponents: main\n" +
        "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n",
    );
  });

  it("serve another suite by the same mirrors, whatever the host itself runs", () => {
    const sources = parseSourcesList(
      [
        "deb http://m.test/debian trixie main contrib",
        "deb http://m.test/debian trixie-updates main",
        "deb http://m.test/debian trixie-backports main",
        "deb http://s.test/debian-security trixie-security main",
        "deb http://s.test/old buster/updates main",
        "deb http://m.test/debian stable main",
      ].join("\n"),
    );
    const suites = sourcesForSuite(sources, "bookworm", unknown).map((source) => source.suites);
    expect(suites).toEqual([
      ["bookworm"],
      ["bookworm-updates"],
      ["bookworm-security"],
      ["bookworm-security"],
      ["bookworm"],
    ]);
    expect(sourcesForSuite(sources, "bookworm", unknown)[0]?.components).toEqual(["main"]);
  });

  it("leave out third parties: other origins, other suites, no main component, media", () => {
    const sources = parseSourcesList(
      [
        "deb http://third.test/apt stable main",
        "deb http://docker.test/linux/debian bookworm stable",
        "deb http://pg.test/apt bookworm-pgdg main",
        "deb http://node.test/apt nodistro main",
        "deb cdrom:[Debian]/ bookworm main",
      ].join("\n"),
    );
    const originOf = (uri: string): string | undefined =>
      uri.includes("third.test") ? "Third LLC" : undefined;
    expect(sourcesForSuite(sources, "bookworm", originOf)).toEqual([]);
  });

  it("keep what a host says that pins a snapshot", () => {
    const sources = parseDeb822(
      "Types: deb\nURIs: http://snap.test/x\nSuites: bookworm\nComponents: main\nCheck-Valid-Until: no\n",
    );
    expect(formatSources(sourcesForSuite(sources, "bookworm", unknown))).toContain("Check-Valid-Until: no");
  });
});
