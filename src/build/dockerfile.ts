import { DockerfileParser, type Instruction as Parsed } from "dockerfile-ast";
import { shown } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import {
  invalidRecipe,
  shellLine,
  type Instruction,
  type Place,
  type Recipe,
  type RecipeFile,
  type Word,
} from "./recipe.js";
import { requireVariableName } from "./variable-name.js";
import { expandWord, splitWords } from "./words.js";

/** They change no file of the image: what is built is the same without them. */
const LEFT_OUT = new Set(["LABEL", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "MAINTAINER", "VOLUME"]);

const SUPPORTED = "FROM, RUN, COPY, ENV, WORKDIR, USER, ARG, CMD and ENTRYPOINT are understood";

const INSTEAD: Readonly<Record<string, string>> = {
  ADD: "use COPY for files of the context, and RUN with curl or tar for the rest",
  SHELL: 'name the shell in RUN: RUN ["/bin/bash", "-c", "…"]',
  ONBUILD: "write what it does into the file that builds on this one",
};

/** One instruction while it is read. */
interface Line {
  readonly place: Place;
  readonly keyword: string;
  /** Behind the keyword and its flags: lines that go on joined, comments between them gone. */
  readonly rest: string;
  readonly flags: ReadonlyMap<string, string>;
  readonly escape: string;
  readonly text: string;
}

/**
 * The common subset of a Dockerfile.
 * @throws {PyroError} BUILD_FILE_INVALID, with the line
 */
export function readDockerfile({ name, text }: RecipeFile): Recipe {
  const file = DockerfileParser.parse(text);
  const escape = file.getEscapeCharacter();
  const lines = file.getInstructions().map((parsed) => toLine(parsed, name, escape));
  const warnings: string[] = [];
  const before: Extract<Instruction, { kind: "arg" }>[] = [];
  const instructions: Instruction[] = [];
  let from: { word: Word; place: Place } | undefined;
  for (const line of lines) {
    if (line.keyword === "FROM") {
      if (from !== undefined) {
        throw invalidRecipe(
          line.place,
          "a second FROM: stages are not supported",
          "build each stage as an environment of its own",
        );
      }
      from = { word: baseOf(line), place: line.place };
    } else if (line.keyword === "ARG") {
      const args = argsOf(line);
      (from === undefined ? before : instructions).push(...args);
    } else if (from === undefined) {
      throw invalidRecipe(
        line.place,
        `${line.keyword} stands before FROM`,
        "begin with FROM, such as FROM debian:12",
      );
    } else if (LEFT_OUT.has(line.keyword)) {
      warnings.push(
        `${line.place.text}: ${line.keyword} was left out: environments have nothing of the kind`,
      );
    } else {
      instructions.push(instructionOf(line));
    }
  }
  if (from === undefined) {
    throw invalidRecipe({ text: name }, "it has no FROM", "begin with FROM, such as FROM debian:12");
  }
  return { from: from.word, fromPlace: from.place, before, instructions, warnings };
}

function toLine(parsed: Parsed, file: string, escape: string): Line {
  const number = parsed.getRange().start.line + 1;
  const place = { text: `${file}:${number}`, line: number };
  const keyword = parsed.getKeyword();
  const flags = new Map<string, string>();
  // Kinds of instructions that have them; some declare the second for themselves alone.
  const withFlags = parsed as object as Partial<{
    getFlags: () => { getName: () => string; getValue: () => string | null }[];
    getHeredocs: () => unknown[];
  }>;
  for (const flag of withFlags.getFlags?.() ?? []) flags.set(flag.getName(), flag.getValue() ?? "");
  if ((withFlags.getHeredocs?.() ?? []).length > 0) {
    throw invalidRecipe(
      place,
      `${keyword} with a here-document is not supported`,
      "join the lines by && and \\, or COPY a script",
    );
  }
  const rest = joined(parsed.getRawArgumentsContent() ?? "", escape);
  const all = [keyword, ...[...flags].map(([name, value]) => `--${name}=${value}`), rest].join(" ");
  return { place, keyword, rest, flags, escape, text: all.replace(/\s+/g, " ").trim() };
}

/** Lines that go on become one; comments and empty lines between them go. */
function joined(raw: string, escape: string): string {
  const [first = "", ...more] = raw.split(/\r?\n/);
  const lines = [first, ...more.filter((line) => !/^\s*(?:#|$)/.test(line))];
  return lines
    .map((line) => {
      const bare = line.trimEnd();
      return bare.endsWith(escape) ? bare.slice(0, -1) : line;
    })
    .join("")
    .trim();
}

function instructionOf(line: Line): Instruction {
  const { place, text, keyword, rest } = line;
  const base = { place, text };
  requireFlags(line, keyword === "COPY" ? ["chown", "chmod"] : []);
  if (rest === "" && keyword !== "CMD" && keyword !== "ENTRYPOINT") {
    throw invalidRecipe(place, `${keyword} says nothing`, "complete it, or take it out");
  }
  switch (keyword) {
    case "RUN":
      return { ...base, kind: "run", argv: commandOf(rest) };
    case "CMD":
      return { ...base, kind: "cmd", argv: commandOf(rest) };
    case "ENTRYPOINT":
      return { ...base, kind: "entrypoint", argv: commandOf(rest) };
    case "WORKDIR":
      return { ...base, kind: "workdir", path: wordOf(line, rest) };
    case "USER":
      return { ...base, kind: "user", user: wordOf(line, rest) };
    case "ENV":
      return { ...base, kind: "env", entries: entriesOf(line) };
    case "COPY":
      return { ...base, kind: "copy", ...copyOf(line) };
    default:
      throw invalidRecipe(place, `${shown(keyword)} is not supported`, INSTEAD[keyword] ?? SUPPORTED);
  }
}

function baseOf(line: Line): Word {
  requireFlags(line, []);
  const [name = "", as, stage, ...more] = words(line);
  const isNamed = as?.toUpperCase() === "AS" && stage !== undefined && more.length === 0;
  if (name === "" || (as !== undefined && !isNamed)) {
    throw invalidRecipe(line.place, "FROM takes one name", "write FROM NAME, such as FROM debian:12");
  }
  return wordOf(line, name);
}

function argsOf(line: Line): Extract<Instruction, { kind: "arg" }>[] {
  const { place, text } = line;
  return words(line).map((word) => {
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    requireVariableName(place, name);
    const value = equals < 0 ? {} : { value: wordOf(line, word.slice(equals + 1)) };
    return { place, text, kind: "arg", name, ...value };
  });
}

/** NAME=value pairs, or the old form of one: NAME and all of the rest. */
function entriesOf(line: Line): (readonly [Word, Word])[] {
  const { place, rest } = line;
  const all = words(line);
  if (all[0]?.includes("=") !== true) {
    const [, name = "", value = ""] = /^(\S+)\s+(.*)$/s.exec(rest) ?? [];
    if (name === "") throw invalidRecipe(place, "ENV has a name and no value", "write ENV NAME=value");
    return [[wordOf(line, name), wordOf(line, value)]];
  }
  return all.map((word) => {
    const equals = word.indexOf("=");
    if (equals < 1)
      throw invalidRecipe(place, `${shown(word)} is no NAME=value`, "put a value with spaces in quotes");
    return [wordOf(line, word.slice(0, equals)), wordOf(line, word.slice(equals + 1))] as const;
  });
}

function copyOf(line: Line) {
  const { place, rest, flags } = line;
  const paths = arrayOf(rest) ?? words(line);
  const destination = paths.at(-1);
  if (destination === undefined || paths.length < 2) {
    throw invalidRecipe(
      place,
      "COPY takes at least one source and a destination",
      "write COPY SOURCE… DESTINATION",
    );
  }
  const [owner, mode] = [flags.get("chown"), flags.get("chmod")];
  return {
    sources: paths.slice(0, -1).map((path) => wordOf(line, path)),
    destination: wordOf(line, destination),
    ...(owner === undefined ? {} : { owner: wordOf(line, owner) }),
    ...(mode === undefined ? {} : { mode: wordOf(line, mode) }),
  };
}

/** What the JSON form says; a text that is no list of strings is a line for the shell. */
function commandOf(rest: string): string[] {
  return arrayOf(rest) ?? (rest === "" ? [] : shellLine(rest));
}

function arrayOf(text: string): string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  try {
    const value = JSON.parse(text) as unknown;
    return Array.isArray(value) && value.every((each) => typeof each === "string") ? value : undefined;
  } catch {
    return undefined;
  }
}

function words(line: Line): string[] {
  return named(line.place, () => splitWords(line.rest, line.escape));
}

function wordOf({ place, escape }: Line, text: string): Word {
  return (variables) => named(place, () => expandWord(text, variables, escape));
}

function named<T>(place: Place, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof PyroError) throw error;
    throw invalidRecipe(
      place,
      (error as Error).message,
      "see the Dockerfile reference on quotes and variables",
      error,
    );
  }
}

function requireFlags({ place, keyword, flags }: Line, known: readonly string[]): void {
  const other = [...flags.keys()].find((name) => !known.includes(name));
  if (other === undefined) return;
  const hint =
    known.length === 0 ? "leave it out" : `leave it out; ${keyword} takes --${known.join(" and --")}`;
  throw invalidRecipe(place, `${keyword} --${other} is not supported`, hint);
}
