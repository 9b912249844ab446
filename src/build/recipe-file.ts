import { basename } from "node:path";
import { parse as parseToml, TomlError } from "smol-toml";
import * as z from "zod";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  invalidRecipe,
  literal,
  shellLine,
  type Instruction,
  type Place,
  type Recipe,
  type RecipeFile,
} from "./recipe.js";

const text = z.string().min(1).max(LIMITS.argumentBytes);
const command = z.union([text, z.array(text).min(1)]);

/** Each step says one thing. */
const stepSchema = z.union([
  z.strictObject({ run: command }),
  z.strictObject({ copy: text, chown: text.optional(), chmod: text.optional() }),
  z.strictObject({ env: z.record(z.string(), z.string()) }),
  z.strictObject({ workdir: text }),
  z.strictObject({ user: text }),
]);

const recipeSchema = z.strictObject({
  from: text,
  step: z.array(z.unknown()).default([]),
  cmd: command.optional(),
  entrypoint: command.optional(),
});

const STEP_HINT =
  'a step has one of run = "LINE" (or a list of words), copy = "SOURCE:DESTINATION", env = { NAME = "value" }, workdir, user';

/**
 * A recipe of our own, as TOML or JSON by its name's end; anything else is a Dockerfile.
 * @throws {PyroError} BUILD_FILE_INVALID
 */
export async function readRecipe(file: RecipeFile): Promise<Recipe> {
  const bytes = Buffer.byteLength(file.text);
  const short = { name: basename(file.name), text: file.text };
  if (bytes > LIMITS.buildFileBytes) {
    const hint = `keep it below ${LIMITS.buildFileBytes} bytes, and COPY what is long`;
    throw invalidRecipe({ text: short.name }, `it has ${bytes} bytes`, hint);
  }
  if (/\.toml$/i.test(short.name)) return ownRecipe(short, parseToml);
  if (/\.json$/i.test(short.name)) return ownRecipe(short, JSON.parse);
  // The parser is needed by whoever builds from such a file alone.
  return (await import("./dockerfile.js")).readDockerfile(short);
}

function ownRecipe({ name, text }: RecipeFile, parse: (text: string) => unknown): Recipe {
  const place = { text: name };
  const given = recipeSchema.safeParse(parsed(place, text, parse));
  if (!given.success) {
    const [issue] = given.error.issues;
    const at = issue?.path.length === 0 ? "" : `${issue?.path.join(".") ?? ""}: `;
    throw invalidRecipe(
      place,
      `${at}${issue?.message ?? "not understood"}`,
      "it has from, [[step]] tables, cmd and entrypoint",
    );
  }
  const { from, step, cmd, entrypoint } = given.data;
  const last = [
    ...(entrypoint === undefined ? [] : [{ kind: "entrypoint", argv: argvOf(entrypoint) } as const]),
    ...(cmd === undefined ? [] : [{ kind: "cmd", argv: argvOf(cmd) } as const]),
  ].map((each) => ({ place, text: each.kind.toUpperCase(), ...each }));
  const instructions = step.map((each, index) => instructionOf({ text: `${name}, step ${index + 1}` }, each));
  return {
    from: literal(from),
    fromPlace: place,
    before: [],
    instructions: [...instructions, ...last],
    warnings: [],
  };
}

function parsed(place: Place, text: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text);
  } catch (error) {
    const line = error instanceof TomlError ? error.line : undefined;
    const at = line === undefined ? place : { text: `${place.text}:${line}`, line };
    const [message = ""] = (error as Error).message.split("\n");
    throw invalidRecipe(at, message, "mend it, then build again", error);
  }
}

function instructionOf(place: Place, given: unknown): Instruction {
  const { data: step } = stepSchema.safeParse(given);
  if (step === undefined) throw invalidRecipe(place, "it is not understood", STEP_HINT);
  if ("run" in step) return runInstruction(place, step.run);
  if ("copy" in step) {
    const { copy, chown, chmod } = step;
    return {
      ...copyInstruction(place, copy),
      ...(chown === undefined ? {} : { owner: literal(chown) }),
      ...(chmod === undefined ? {} : { mode: literal(chmod) }),
    };
  }
  if ("env" in step) return envInstruction(place, Object.entries(step.env));
  if ("workdir" in step)
    return { place, text: `WORKDIR ${step.workdir}`, kind: "workdir", path: literal(step.workdir) };
  return { place, text: `USER ${step.user}`, kind: "user", user: literal(step.user) };
}

function argvOf(given: string | readonly string[]): string[] {
  return typeof given === "string" ? shellLine(given) : [...given];
}

/** A line for the shell, or words that are run without one. */
function runInstruction(place: Place, given: string | readonly string[]): Instruction {
  const shownAs = typeof given === "string" ? given : JSON.stringify(given);
  return { place, text: `RUN ${shownAs.replace(/\s+/g, " ")}`, kind: "run", argv: argvOf(given) };
}

/**
 * "SOURCE:DESTINATION"; the last colon divides.
 * @throws {PyroError} BUILD_FILE_INVALID
 */
function copyInstruction(place: Place, given: string): Extract<Instruction, { kind: "copy" }> {
  const [, source, destination] = /^(.+):(.+)$/s.exec(given) ?? [];
  if (source === undefined || destination === undefined) {
    throw invalidRecipe(
      place,
      `${JSON.stringify(given)} is no SOURCE:DESTINATION`,
      "write it like src:/app/src",
    );
  }
  const words = { sources: [literal(source)], destination: literal(destination) };
  return { place, text: `COPY ${source} ${destination}`, kind: "copy", ...words };
}

/** Variables from here on, of commands in the environment too. */
function envInstruction(place: Place, entries: readonly (readonly [string, string])[]): Instruction {
  const names = entries.map(([name]) => name).join(" ");
  const words = entries.map(([name, value]) => [literal(name), literal(value)] as const);
  return { place, text: `ENV ${names}`, kind: "env", entries: words };
}

/** What options say instead of a file. */
export interface RecipeOptions {
  readonly from: string;
  /** "NAME=value" each. */
  readonly env: readonly string[];
  /** "SOURCE:DESTINATION" each. */
  readonly copy: readonly string[];
  /** A line for the shell each. */
  readonly run: readonly string[];
}

/**
 * A recipe of options: variables first, then copies, then commands, each in their order.
 * @throws {PyroError} BUILD_FILE_INVALID, INVALID_ARGUMENT
 */
export function recipeOf({ from, env, copy, run }: RecipeOptions): Recipe {
  if (from === "") {
    throw new PyroError("INVALID_ARGUMENT", "neither an environment to build from nor a file is given", {
      hint: "add `--from debian:12`, or `--file Dockerfile`",
    });
  }
  const entries = env.map((entry) => {
    const equals = entry.indexOf("=");
    return [entry.slice(0, Math.max(equals, 0)), entry.slice(equals + 1)] as const;
  });
  return {
    from: literal(from),
    fromPlace: { text: "--from" },
    before: [],
    instructions: [
      ...(entries.length === 0 ? [] : [envInstruction({ text: "--env" }, entries)]),
      ...copy.map((each, index) => copyInstruction({ text: `--copy ${index + 1}` }, each)),
      ...run.map((each, index) => runInstruction({ text: `--run ${index + 1}` }, each)),
    ],
    warnings: [],
  };
}
