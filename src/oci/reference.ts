import { shown } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { isDigest, parseDigest, type Digest } from "./digest.js";
import { DEFAULT_REGISTRY } from "./registries.js";

/**
 * Where an image is: a registry, a repository, and a tag or a digest. Where both are given the digest decides, and the
 * tag is only what the user wrote.
 */
export interface Reference {
  /** The registry by its name, with its port where it has one: "localhost:5000". */
  readonly registry: string;
  /** "library/debian": what the registry's API calls it. */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

// The grammar of github.com/distribution/reference (reference.go):
//   reference := name [ ":" tag ] [ "@" digest ]
//   name      := [ domain "/" ] path-component [ "/" path-component ]*
// and its rule for names without a domain (normalize.go, splitDockerDomain).
const COMPONENT = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DOMAIN_LABEL = /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])$/;
/** RepositoryNameTotalLengthMax. */
const REPOSITORY_CHARACTERS = 255;
const DEFAULT_TAG = "latest";
/** Images of the default registry without an owner are its own. */
const OFFICIAL = "library/";
const EXAMPLE = "python:3.12-slim, or registry.example.org/team/image:1.0";

/**
 * Reads a reference as docker and podman do: without a registry it is the default one's, whose single names stand below
 * `library/`; without tag and digest it is `latest`.
 * @throws {PyroError} IMAGE_REFERENCE_INVALID, saying what is wrong and what to type instead
 */
export function parseReference(text: string, defaultRegistry = DEFAULT_REGISTRY): Reference {
  checkText(text);
  const { name, tag, digest } = split(text);
  const { registry, repository } = splitName(name, defaultRegistry);
  checkRegistry(text, registry);
  checkRepository(text, repository);
  return { registry, repository, tag: digest === undefined ? (tag ?? DEFAULT_TAG) : tag, digest };
}

/** The one spelling of a reference: with registry, and `library/` where that belongs to it. */
export function formatReference({ registry, repository, tag, digest }: Reference): string {
  const tagged = tag === undefined ? "" : `:${tag}`;
  return `${registry}/${repository}${tagged}${digest === undefined ? "" : `@${digest}`}`;
}

/** The same image, held by its digest. */
export function pinned(reference: Reference, digest: Digest): Reference {
  return { ...reference, digest };
}

function checkText(text: string): void {
  if (text === "") throw invalid(text, "it is empty", `name an image, such as ${EXAMPLE}`);
  if (/[\s\p{C}]/u.test(text)) {
    throw invalid(text, "it has a space or a control character", "write the reference without it");
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[0];
  if (scheme !== undefined) {
    throw invalid(text, "a reference has no scheme", `leave ${scheme} out: ${text.slice(scheme.length)}`);
  }
}

function split(text: string): { name: string; tag: string | undefined; digest: Digest | undefined } {
  const at = text.indexOf("@");
  const named = at < 0 ? text : text.slice(0, at);
  const digest = at < 0 ? undefined : readDigest(text, text.slice(at + 1));
  // A colon before the last slash is a port's.
  const colon = named.indexOf(":", named.lastIndexOf("/") + 1);
  if (colon < 0) return { name: named, tag: undefined, digest };
  const tag = named.slice(colon + 1);
  if (TAG.test(tag)) return { name: named.slice(0, colon), tag, digest };
  const problem = tag === "" ? "nothing stands behind its colon" : `${shown(tag)} is no tag`;
  throw invalid(
    text,
    problem,
    "a tag has letters, digits, _, . and -, at most 128, and begins with a letter, a digit or _",
  );
}

function readDigest(text: string, written: string): Digest {
  const digest = parseDigest(written);
  if (isDigest(digest)) return digest;
  throw invalid(
    text,
    `${digest.problem}: ${shown(written)}`,
    "write @sha256: and 64 hexadecimal digits, or a tag",
  );
}

function splitName(name: string, defaultRegistry: string): { registry: string; repository: string } {
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  // Theirs takes "Team" of Team/tool for a host too, since no name has capitals: here that is told instead.
  const isRegistry = /[.:]/.test(first) || first.toLowerCase() === "localhost";
  const registry = isRegistry ? first.toLowerCase() : defaultRegistry;
  const rest = isRegistry ? name.slice(slash + 1) : name;
  const canonical = registry === `index.${DEFAULT_REGISTRY}` ? DEFAULT_REGISTRY : registry;
  const isOfficial = canonical === DEFAULT_REGISTRY && !rest.includes("/");
  return { registry: canonical, repository: isOfficial ? `${OFFICIAL}${rest}` : rest };
}

function checkRegistry(text: string, registry: string): void {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(registry);
  const [, , name, port] = match ?? [];
  const labels = name?.split(".") ?? [];
  if (match === null || !labels.every((label) => DOMAIN_LABEL.test(label))) {
    throw invalid(
      text,
      `${shown(registry)} is no registry`,
      "write a host, or a host and its port: localhost:5000/image",
    );
  }
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) {
    throw invalid(text, `${port} is no port`, "a port is a number from 1 to 65535");
  }
}

function checkRepository(text: string, repository: string): void {
  const shownName = repository.startsWith(OFFICIAL) ? repository.slice(OFFICIAL.length) : repository;
  if (shownName === "") throw invalid(text, "it names no image", `name an image, such as ${EXAMPLE}`);
  if (repository.length > REPOSITORY_CHARACTERS) {
    throw invalid(
      text,
      `its repository has ${repository.length} characters, more than ${REPOSITORY_CHARACTERS}`,
      "check the name: such a one cannot exist",
    );
  }
  // A bare image id, which no registry knows (reference.go, anchoredIdentifierRegexp).
  if (/^[0-9a-f]{64}$/.test(shownName)) {
    throw invalid(text, "it is an image id", "name the image and its digest: NAME@sha256:…");
  }
  const wrong = repository.split("/").find((component) => !COMPONENT.test(component));
  if (wrong === undefined) return;
  if (wrong === "") throw invalid(text, "a part of its name is empty", `write it as ${EXAMPLE}`);
  if (wrong !== wrong.toLowerCase() && COMPONENT.test(wrong.toLowerCase())) {
    throw invalid(
      text,
      `${shown(wrong)} has capital letters`,
      `names of images have none: ${lowerName(text)}`,
    );
  }
  throw invalid(
    text,
    `${shown(wrong)} is no part of an image's name`,
    "its parts have lower-case letters and digits, joined by one . or _, two _, or any -",
  );
}

function lowerName(text: string): string {
  const end = /[:@](?!.*\/)/.exec(text)?.index ?? text.length;
  return `${text.slice(0, end).toLowerCase()}${text.slice(end)}`;
}

function invalid(text: string, problem: string, hint: string): PyroError {
  return new PyroError("IMAGE_REFERENCE_INVALID", `${shown(text)} is no reference of an image: ${problem}`, {
    hint,
    details: { reference: text.slice(0, REPOSITORY_CHARACTERS), problem },
  });
}
