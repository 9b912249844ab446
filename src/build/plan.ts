import type { EnvironmentConfig } from "../image/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { DEFAULT_ENVIRONMENT } from "../workspace/index.js";
import { absolute, copyOf, pathOf, withoutNul, type Action } from "./action.js";
import { requireVariableName } from "./variable-name.js";
import { invalidRecipe, type Instruction, type Place, type Recipe } from "./recipe.js";

/** One step that makes a layer. */
export interface PlannedStep {
  readonly place: Place;
  readonly text: string;
  /** Absolute: made first where it is missing. */
  readonly workingDir: string;
  /** As in a configuration. */
  readonly user: string;
  readonly action: Action;
}

export interface Plan {
  readonly steps: readonly PlannedStep[];
  /** What holds for commands in the result; absent where neither the base nor the recipe says anything. */
  readonly config?: EnvironmentConfig;
  readonly warnings: readonly string[];
}

type Values = Map<string, string>;

/** What an environment need not say for its commands to have it: `ENV PATH=/opt/bin:$PATH` is to mean something. */
const BEFORE_ALL: ReadonlyMap<string, string> = new Map(
  Object.entries(DEFAULT_ENVIRONMENT).filter(([name]) => name === "PATH"),
);

/**
 * The environment that a recipe begins with.
 * @throws {PyroError} BUILD_FILE_INVALID
 */
export function baseOf(recipe: Recipe, given: ReadonlyMap<string, string>): string {
  const name = recipe.from(argumentsBefore(recipe, given));
  if (name === "")
    throw invalidRecipe(recipe.fromPlace, "FROM names nothing", "does it use a variable without a value?");
  return name;
}

function argumentsBefore(recipe: Recipe, given: ReadonlyMap<string, string>): Values {
  const values: Values = new Map();
  for (const { name, value } of recipe.before) {
    const said = given.get(name) ?? value?.(values);
    if (said !== undefined) values.set(name, said);
  }
  return values;
}

/**
 * The steps of a recipe over a base, with all variables put in.
 * @throws {PyroError} BUILD_FILE_INVALID, BUILD_LIMIT_EXCEEDED
 */
export function planOf(
  recipe: Recipe,
  base: EnvironmentConfig | undefined,
  given: ReadonlyMap<string, string>,
): Plan {
  const state = new State(recipe, base, given);
  for (const instruction of recipe.instructions) state.take(instruction);
  return state.end();
}

/** What is in force between two instructions. */
class State {
  readonly #env: Values;
  readonly #args: Values = new Map();
  readonly #before: Values;
  readonly #declared: Set<string>;
  readonly #steps: PlannedStep[] = [];
  #workingDir: string;
  #user: string;
  #cmd: readonly string[];
  /** Of this recipe, not of its base. */
  #hasCmd = false;
  #entrypoint: readonly string[];
  /** The last WORKDIR, until a step makes its directory. */
  #pending: Pick<PlannedStep, "place" | "text"> | undefined;
  #isConfigured: boolean;

  constructor(
    private readonly recipe: Recipe,
    base: EnvironmentConfig | undefined,
    private readonly given: ReadonlyMap<string, string>,
  ) {
    this.#env = new Map((base?.env ?? []).map(entryOf));
    this.#before = argumentsBefore(recipe, given);
    this.#declared = new Set(recipe.before.map(({ name }) => name));
    this.#workingDir = base?.workingDir ?? "";
    this.#user = base?.user ?? "";
    this.#cmd = base?.cmd ?? [];
    this.#entrypoint = base?.entrypoint ?? [];
    this.#isConfigured = base !== undefined;
  }

  take(instruction: Instruction): void {
    if (instruction.kind !== "arg" && instruction.kind !== "run" && instruction.kind !== "copy")
      this.#isConfigured = true;
    const known: Values = new Map([...BEFORE_ALL, ...this.#args, ...this.#env]);
    switch (instruction.kind) {
      case "arg":
        this.#declare(instruction, known);
        return;
      case "env":
        for (const [name, value] of instruction.entries) {
          const named = name(known);
          requireVariableName(instruction.place, named);
          this.#env.set(named, withoutNul(instruction.place, value(known)));
        }
        return;
      case "workdir":
        this.#workingDir = absolute(this.#cwd, pathOf(instruction.place, instruction.path(known)));
        this.#pending = instruction;
        return;
      case "user":
        this.#user = userOf(instruction.place, instruction.user(known));
        return;
      case "cmd":
        this.#cmd = instruction.argv;
        this.#hasCmd = true;
        return;
      case "entrypoint":
        this.#entrypoint = instruction.argv;
        // The base's was for the base's (Dockerfile reference, ENTRYPOINT).
        if (!this.#hasCmd) this.#cmd = [];
        return;
      case "run":
        for (const word of instruction.argv) withoutNul(instruction.place, word);
        this.#add(instruction, {
          kind: "run",
          argv: instruction.argv,
          env: textsOf(new Map([...this.#args, ...this.#env])),
        });
        return;
      case "copy":
        this.#add(instruction, copyOf(instruction, known, this.#cwd));
    }
  }

  end(): Plan {
    if (this.#pending !== undefined) this.#add(this.#pending, { kind: "directory" });
    const unused = [...this.given.keys()].filter((name) => !this.#declared.has(name));
    const warnings = [
      ...this.recipe.warnings,
      ...unused.map((name) => `no ARG declares ${name}: it was not used`),
    ];
    const config = {
      ...{ env: textsOf(this.#env), user: this.#user, workingDir: this.#workingDir },
      ...{ entrypoint: this.#entrypoint, cmd: this.#cmd },
    };
    return { steps: this.#steps, warnings, ...(this.#isConfigured ? { config } : {}) };
  }

  get #cwd(): string {
    return this.#workingDir === "" ? "/" : absolute("/", this.#workingDir);
  }

  #declare({ name, value }: Extract<Instruction, { kind: "arg" }>, known: Values): void {
    this.#declared.add(name);
    const said = this.given.get(name) ?? value?.(known) ?? this.#before.get(name);
    if (said !== undefined) this.#args.set(name, said);
  }

  #add({ place, text }: Pick<PlannedStep, "place" | "text">, action: Action): void {
    this.#pending = undefined;
    this.#steps.push({ place, text, action, workingDir: this.#cwd, user: this.#user });
    if (this.#steps.length <= LIMITS.buildSteps) return;
    throw new PyroError("BUILD_LIMIT_EXCEEDED", `${place.text}: more than ${LIMITS.buildSteps} steps`, {
      hint: "join commands by &&, or build in two environments, one from the other",
      details: { which: "steps", limit: LIMITS.buildSteps },
    });
  }
}

/** Nobody is root to a configuration: a variable without a value is not to make somebody of that. */
function userOf(place: Place, text: string): string {
  if (text === "") throw invalidRecipe(place, "USER names nobody", "does it use a variable without a value?");
  return withoutNul(place, text);
}

function entryOf(text: string): [string, string] {
  const equals = text.indexOf("=");
  return equals < 0 ? [text, ""] : [text.slice(0, equals), text.slice(equals + 1)];
}

function textsOf(values: ReadonlyMap<string, string>): string[] {
  return [...values].map(([name, value]) => `${name}=${value}`);
}
