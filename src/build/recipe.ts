import { PyroError } from "../protocol/index.js";

/** Where something was said: a file and its line or step, or an option. */
export interface Place {
  /** As messages begin: "Dockerfile:7", "recipe.toml, step 2", "--copy 1". */
  readonly text: string;
  /** From 1; undefined where there are no lines. */
  readonly line?: number;
}

/** A text in which variables stand; what it says depends on those that are known by then. */
export type Word = (variables: ReadonlyMap<string, string>) => string;

/** One instruction, whatever file or option said it. */
export type Instruction = {
  readonly place: Place;
  /** As it was written, in one line: for people. */
  readonly text: string;
} & (
  | { readonly kind: "arg"; readonly name: string; readonly value?: Word }
  | { readonly kind: "env"; readonly entries: readonly (readonly [name: Word, value: Word])[] }
  | { readonly kind: "workdir"; readonly path: Word }
  | { readonly kind: "user"; readonly user: Word }
  | { readonly kind: "run"; readonly argv: readonly string[] }
  | {
      readonly kind: "copy";
      readonly sources: readonly Word[];
      readonly destination: Word;
      /** "UID" or "UID:GID", in numbers. */
      readonly owner?: Word;
      /** Permission bits in octal digits. */
      readonly mode?: Word;
    }
  | { readonly kind: "cmd" | "entrypoint"; readonly argv: readonly string[] }
);

/** What an environment is to be built of. */
export interface Recipe {
  /** An environment's name, or an image's reference. */
  readonly from: Word;
  readonly fromPlace: Place;
  /** ARGs before FROM: what its word may use. */
  readonly before: readonly Extract<Instruction, { kind: "arg" }>[];
  readonly instructions: readonly Instruction[];
  /** What was left out and changes no file, one sentence each. */
  readonly warnings: readonly string[];
}

/** A file as its reader sent it. */
export interface RecipeFile {
  /** For messages; "recipe.toml" and "recipe.json" are recipes by their ends, anything else is a Dockerfile. */
  readonly name: string;
  readonly text: string;
}

/** A line for the shell, as Docker runs it: it reads no profile. */
export function shellLine(line: string): string[] {
  return ["/bin/sh", "-c", line];
}

/** A text without variables. */
export function literal(text: string): Word {
  return () => text;
}

/** What is wrong with a recipe, and where. */
export function invalidRecipe(place: Place, message: string, hint: string, cause?: unknown): PyroError {
  return new PyroError("BUILD_FILE_INVALID", `${place.text}: ${message}`, {
    hint,
    details: { place: place.text, ...(place.line === undefined ? {} : { line: place.line }) },
    cause,
  });
}
