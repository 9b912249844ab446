import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { isAbsolute } from "node:path";
import { parse, TomlError } from "smol-toml";
import * as z from "zod";
import { LIMITS, PyroError } from "../protocol/index.js";
import { POOL_MAX } from "./pool-size.js";

/**
 * The user's configuration, `config.toml`. It is read once, when the daemon starts: a running daemon keeps what it
 * read. Every key is checked, those too whose subject does not exist yet (docs/limitations.md says which).
 */

const registry = z.string().regex(/^[A-Za-z0-9.-]+(:\d{1,5})?$/, "a registry, such as registry.test:5000");
const url = z.string().regex(/^https?:\/\/[^\s/]+/, "an address that begins with https:// or http://");
const directory = z.string().refine(isAbsolute, "an absolute path");

const schema = z.strictObject({
  /** Most machines that wait ready, in all; 0: none. */
  pool: z.int().min(0).max(POOL_MAX).optional(),
  /** Refuses to start a machine where only software emulation works. */
  require_isolation: z.literal("kvm").optional(),
  /** Directories of the host that calls through MCP may name. */
  host_roots: z.array(directory).optional(),
  /** Where to fetch from instead, by registry. */
  mirrors: z.record(registry, z.array(url).min(1)).optional(),
  /** Registries that are spoken to without TLS. */
  insecure_registries: z.array(registry).optional(),
  /** Seconds after which a workspace that nobody uses is suspended; 0: never. */
  idle_suspend: z.int().min(0).max(LIMITS.longestSeconds).optional(),
  /** Files of certificates that machines with a network are to trust, instead of those that the host has of its own. */
  certificates: z.array(directory).optional(),
  /** Whether machines with a network get the host's package sources; they do when it is left out. */
  package_sources: z.boolean().optional(),
  /** Files in apt's formats that name where Debian's packages are, instead of the configuration of the host's apt. */
  apt_sources: z.array(directory).min(1).optional(),
  /** The host's proxy, instead of the one that the daemon's starter has in its environment; "": none. */
  proxy: z.union([z.literal(""), z.string().regex(/^http:\/\/[^\s/]+\/?$/)]).optional(),
  /** What is reached without it, as in NO_PROXY. */
  no_proxy: z.array(z.string().regex(/^[^\s,]+$/)).optional(),
});

/** What each key has to be, for the message. */
const EXPECTED: Readonly<Record<keyof Settings, string>> = {
  pool: `a whole number from 0 to ${POOL_MAX}`,
  require_isolation: '"kvm"',
  host_roots: "a list of absolute paths",
  mirrors: "a table of lists of addresses by registry",
  insecure_registries: "a list of registries, such as registry.test:5000",
  idle_suspend: `whole seconds from 0 to ${LIMITS.longestSeconds}`,
  certificates: "a list of absolute paths",
  package_sources: "true or false",
  apt_sources: "a list of absolute paths",
  proxy: 'an address such as http://proxy.test:3128, or ""',
  no_proxy: "a list of names, addresses and blocks",
};

export type Settings = z.infer<typeof schema>;

export interface Configuration {
  readonly path: string;
  /** Whether there is a file. */
  readonly found: boolean;
  readonly settings: Settings;
}

/** Its name in the user's configuration directory. */
export const CONFIGURATION_FILE = "config.toml";
/** A configuration is a handful of lines. */
const FILE_BYTES_MAX = 64 * 1024;
/** Shown of a value that is wrong. */
const SHOWN_CHARS = 80;

interface Problem {
  /** 1 is the first; absent where it is not known. */
  readonly line?: number;
  readonly message: string;
}

/**
 * Reads the file; where there is none, nothing is set.
 * @throws {PyroError} CONFIG_INVALID with all that is wrong, by line
 */
export async function readConfiguration(path: string): Promise<Configuration> {
  const text = await readText(path);
  if (text === undefined) return { path, found: false, settings: {} };
  return { path, found: true, settings: parseSettings(path, text) };
}

/** @throws {PyroError} CONFIG_INVALID with all that is wrong, by line */
export function parseSettings(path: string, text: string): Settings {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const what = error.message.split("\n")[0] ?? "";
    throw invalid(path, [
      { line: error.line, message: what.replace("Invalid TOML document: ", "no TOML: ") },
    ]);
  }
  const { success, data, error } = schema.safeParse(document);
  if (success) return data;
  const problems = error.issues.flatMap((issue) =>
    problemsOf(issue, document as Record<string, unknown>, text),
  );
  throw invalid(path, problems);
}

/** One line on what the daemon goes by, and whether the file says something else now. */
export function describeConfiguration(read: Configuration, now: Configuration): string {
  const settings = Object.entries(read.settings).map(([key, value]) => `${key} = ${shown(value)}`);
  const what = !read.found
    ? `there was no ${read.path}; all is as by default`
    : `${read.path}: ${settings.join(", ") || "nothing is set"}`;
  const same = read.found === now.found && JSON.stringify(read.settings) === JSON.stringify(now.settings);
  return same ? what : `${what}; it was changed since, \`pyro daemon stop\` lets the next call read it`;
}

function problemsOf(issue: z.core.$ZodIssue, document: Record<string, unknown>, text: string): Problem[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ ...at(text, key), message: `there is no key ${JSON.stringify(key)}` }));
  }
  const key = String(issue.path[0]);
  const value = issue.path.reduce<unknown>(
    (inside, part) => (inside as Record<PropertyKey, unknown> | undefined)?.[part],
    document,
  );
  const said = value === undefined ? "missing" : shown(value).slice(0, SHOWN_CHARS);
  const name = issue.path
    .map(String)
    .map((part) => (/^[\w.:-]+$/.test(part) ? part : JSON.stringify(part)))
    .join(".");
  return [
    { ...at(text, key), message: `${name} is ${said}, it has to be ${EXPECTED[key as keyof Settings]}` },
  ];
}

/** A value as JSON, without the credentials of addresses in it. */
function shown(value: unknown): string {
  return JSON.stringify(value).replace(/:\/\/[^"\s]*@/g, "://");
}

/** Where a key of the document's top is set, or its table begins. */
function at(text: string, key: string): Pick<Problem, "line"> {
  const quoted = key.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const begins = new RegExp(`^\\s*\\[{0,2}\\s*["']?${quoted}["']?\\s*[=.\\]]`);
  const index = text.split("\n").findIndex((line) => begins.test(line));
  return index < 0 ? {} : { line: index + 1 };
}

function invalid(path: string, problems: readonly Problem[]): PyroError {
  const inOrder = [...problems].sort((one, other) => (one.line ?? 0) - (other.line ?? 0));
  const list = inOrder.map(({ line, message }) =>
    line === undefined ? message : `line ${line}: ${message}`,
  );
  const count = problems.length === 1 ? "a problem" : `${problems.length} problems`;
  return new PyroError("CONFIG_INVALID", `${path} has ${count}: ${list.join("; ")}`, {
    hint: `mend the file, or move it away; its keys are ${Object.keys(EXPECTED).join(", ")}`,
    details: { path, problems: inOrder.map((problem) => ({ ...problem })) },
  });
}

/** Never waits: what is no plain file (a pipe, a device) is refused unread. */
async function readText(path: string): Promise<string | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = await file.stat();
    if (!facts.isFile()) throw invalid(path, [{ message: "it is no file" }]);
    if (facts.size > FILE_BYTES_MAX) {
      throw invalid(path, [{ message: `it has ${facts.size} bytes, more than ${FILE_BYTES_MAX}` }]);
    }
    return await file.readFile("utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    if (error instanceof PyroError) throw error;
    throw invalid(path, [{ message: `it cannot be read (${code ?? String(error)})` }]);
  }
}
