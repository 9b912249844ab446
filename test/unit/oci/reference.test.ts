import { describe, expect, it } from "vitest";
import {
  DEFAULT_REGISTRY,
  formatReference,
  isDigest,
  parseDigest,
  parseReference,
  type Digest,
} from "../../../src/oci/index.js";
import { pinned } from "../../../src/oci/reference.js";
import { endpointsOf, isLoopback } from "../../../src/oci/registries.js";

const DIGEST = `sha256:${"a1".repeat(32)}`;

describe("a reference", () => {
  it.each([
    ["python:3.12-slim", "docker.io/library/python:3.12-slim"],
    ["debian", "docker.io/library/debian:latest"],
    ["docker.io/library/debian:12", "docker.io/library/debian:12"],
    ["docker.io/debian:12", "docker.io/library/debian:12"],
    [`index.${DEFAULT_REGISTRY}/debian:12`, "docker.io/library/debian:12"],
    ["team/tool", "docker.io/team/tool:latest"],
    ["localhost/x", "localhost/x:latest"],
    ["localhost:5000/x", "localhost:5000/x:latest"],
    ["LOCALHOST:5000/x:A", "localhost:5000/x:A"],
    ["[::1]:5000/x", "[::1]:5000/x:latest"],
    ["registry.example.org/a/b/c:1", "registry.example.org/a/b/c:1"],
    [`registry.example.org/org/image@${DIGEST}`, `registry.example.org/org/image@${DIGEST}`],
    [`debian:12@${DIGEST}`, `docker.io/library/debian:12@${DIGEST}`],
    ["a__b/c-d---e/f.g", "docker.io/a__b/c-d---e/f.g:latest"],
    [`x:${"t".repeat(128)}`, `docker.io/library/x:${"t".repeat(128)}`],
  ])("%s is %s", (text, canonical) => {
    expect(formatReference(parseReference(text))).toBe(canonical);
    expect(formatReference(parseReference(canonical))).toBe(canonical);
  });

  it("without a registry is the configured one's, which has no library of its own", () => {
    expect(formatReference(parseReference("debian:12", "registry.example.org"))).toBe(
      "registry.example.org/debian:12",
    );
  });

  it("has a digest of SHA-256 or none", () => {
    expect(isDigest(parseDigest(DIGEST))).toBe(true);
    for (const text of [
      "",
      DIGEST.toUpperCase(),
      `${DIGEST}0`,
      `${DIGEST}\n`,
      DIGEST.slice(7),
      "sha256:",
      "a:b",
    ]) {
      expect(isDigest(parseDigest(text))).toBe(false);
    }
  });

  it("is held by a digest, and remembers its tag", () => {
    expect(formatReference(pinned(parseReference("debian:12"), DIGEST as Digest))).toBe(
      `docker.io/library/debian:12@${DIGEST}`,
    );
  });

  it.each([
    ["", "it is empty", "name an image"],
    [
      "https://registry.example.org/x",
      "a reference has no scheme",
      "leave https:// out: registry.example.org/x",
    ],
    ["docker://debian", "a reference has no scheme", "leave docker:// out: debian"],
    ["debian 12", "it has a space or a control character", "without it"],
    ["debian\u0000", "it has a space or a control character", "without it"],
    ["debian:", "nothing stands behind its colon", "a tag has"],
    ["debian:.12", '".12" is no tag', "a tag has"],
    [`debian:${"x".repeat(129)}`, "is no tag", "at most 128"],
    ["debian@", "it is no digest", "@sha256:"],
    ["debian@sha256:abc", "a sha256 digest has 64", "@sha256:"],
    [`debian@sha256:${"A".repeat(64)}`, "a sha256 digest has 64", "@sha256:"],
    [`debian@sha512:${"a".repeat(128)}`, "its algorithm is sha512, not sha256", "@sha256:"],
    ["docker.io/Team/Tool:A", '"Team" has capital letters', "docker.io/team/tool:A"],
    ["Team/tool", '"Team" has capital letters', "have none: team/tool"],
    ["a//b", "a part of its name is empty", "write it as"],
    ["/x", "a part of its name is empty", "write it as"],
    ["registry.example.org/", "it names no image", "name an image"],
    ["a/b_/c", '"b_" is no part of an image\'s name', "its parts have"],
    ["a/../b", '".." is no part', "its parts have"],
    ["-x.example.org/a", '"-x.example.org" is no registry', "write a host"],
    ["user:pass@registry.example.org/a", "it is no digest", "@sha256:"],
    ["localhost:99999/a", "99999 is no port", "from 1 to 65535"],
    ["localhost:0/a", "0 is no port", "from 1 to 65535"],
    ["a/".repeat(130) + "a", "more than 255", "cannot exist"],
    ["ab".repeat(32), "it is an image id", "NAME@sha256:"],
  ])("%j is refused: %s", (text, problem, hint) => {
    expect(() => parseReference(text)).toThrow(
      expect.objectContaining({
        code: "IMAGE_REFERENCE_INVALID",
        message: expect.stringContaining(problem) as string,
        hint: expect.stringContaining(hint) as string,
      }) as Error,
    );
  });
});

describe("the places of a registry", () => {
  it("without a name of their own stand below the default registry's", () => {
    const [{ base, logins } = { base: "", logins: [] }, ...others] = endpointsOf(DEFAULT_REGISTRY, {});
    expect(others).toEqual([]);
    expect(new URL(base).hostname.endsWith(`.${DEFAULT_REGISTRY}`)).toBe(true);
    expect(logins).toContain(DEFAULT_REGISTRY);
  });

  const bases = (registry: string, settings = {}): string[] =>
    endpointsOf(registry, settings).map(({ base }) => base);

  it("are itself, by TLS unless it is said to be insecure, and its mirrors before it", () => {
    expect(bases("localhost:5000")).toEqual(["https://localhost:5000"]);
    expect(bases("localhost:5000", { insecure: ["localhost:5000"] })).toEqual(["http://localhost:5000"]);
    expect(bases("localhost:5000", { insecure: ["localhost"] })).toEqual(["https://localhost:5000"]);
    const mirrors = { "registry.example.org": ["https://mirror.example.org/cache/", "http://127.0.0.1:1"] };
    expect(bases("registry.example.org", { mirrors })).toEqual([
      "https://mirror.example.org/cache",
      "http://127.0.0.1:1",
      "https://registry.example.org",
    ]);
    expect(
      bases("registry.example.org", { apis: { "registry.example.org": "https://api.example.org/" } }),
    ).toEqual(["https://api.example.org"]);
  });

  it("never have credentials in them", () => {
    expect(() =>
      endpointsOf("x.example.org", { mirrors: { "x.example.org": ["https://u:p@m.example.org"] } }),
    ).toThrow(
      expect.objectContaining({
        code: "CONFIG_INVALID",
        message: expect.not.stringContaining("u:p") as string,
      }) as Error,
    );
  });

  it("are this machine's own by their address alone", () => {
    const own = [
      "http://localhost:1",
      "http://127.0.0.1",
      "http://0x7f.1",
      "http://127.9.9.9",
      "http://[::1]:2",
    ];
    expect(own.filter((address) => !isLoopback(new URL(address)))).toEqual([]);
    const others = [
      "http://localhost.example.org",
      "http://127.0.0.1.example.org",
      "http://10.0.0.1",
      "http://[::2]",
    ];
    expect(others.filter((address) => isLoopback(new URL(address)))).toEqual([]);
  });
});
