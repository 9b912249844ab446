import { basename } from "node:path";
import * as z from "zod";
import type { StartCommand } from "../../chat-hosts/index.js";
import { mcpServe } from "../mcp/serve.js";

/** Options of `pyro mcp serve` that an entry gives; what is left out is as by default. */
export type ServeOptions = {
  readonly [Name in keyof z.output<typeof mcpServe.input>]?:
    z.output<typeof mcpServe.input>[Name] | undefined;
};

/** What an entry's command says. */
export interface ServeCommand {
  /** What starts pyro: itself, npx, or a program of the user's own around it. */
  readonly start: StartCommand;
  readonly stateDir: string | undefined;
  /** The options that are valid. */
  readonly options: ServeOptions;
  /** What is not, in words. */
  readonly problems: readonly string[];
}

interface OptionField {
  readonly name: keyof ServeOptions;
  readonly flag: string;
  readonly type: "boolean" | "array" | "text";
}

/** The options of `pyro mcp serve`, as its declaration has them. */
const FIELDS: readonly OptionField[] = Object.entries(
  z.toJSONSchema(mcpServe.input, { io: "input" }).properties ?? {},
).map(([name, property]) => {
  const shown = (mcpServe.commandLineNames as Readonly<Record<string, string>>)[name] ?? name;
  const type = typeof property === "object" ? property.type : undefined;
  return {
    name: name as keyof ServeOptions,
    flag: `--${shown.replaceAll("_", "-")}`,
    type: type === "boolean" || type === "array" ? type : "text",
  };
});

/** The words behind `pyro`. */
export function serveWords(options: ServeOptions, stateDir: string | undefined): string[] {
  const words = FIELDS.flatMap(({ name, flag }): string[] => {
    const value = options[name];
    if (value === undefined || value === false) return [];
    if (value === true) return [flag];
    return typeof value === "string" ? [flag, value] : value.flatMap((item) => [flag, item]);
  });
  return [...(stateDir === undefined ? [] : ["--state-dir", stateDir]), "mcp", "serve", ...words];
}

/** Takes an entry's command apart; undefined where it does not serve pyro's tools. */
export function readServeCommand(command: StartCommand): ServeCommand | undefined {
  const at = command.findIndex((word, index) => word === "mcp" && command[index + 1] === "serve");
  if (at < 1) return undefined;
  const { stateDir, rest: head } = takeStateDir(command.slice(0, at));
  const { stateDir: later, rest: tail } = takeStateDir(command.slice(at + 2));
  const [program = "", ...words] = head;
  const { options, problems } = readOptions(tail);
  // Between the command and its first word only --state-dir has a place.
  const isPyro = basename(program) === "pyro";
  const strange = isPyro ? words.map((word) => `\`pyro\` has no option ${word}`) : [];
  const start: StartCommand = isPyro ? [program] : [program, ...words];
  return { start, stateDir: later ?? stateDir, options, problems: [...strange, ...problems] };
}

function takeStateDir(words: readonly string[]): { stateDir: string | undefined; rest: readonly string[] } {
  const at = words.indexOf("--state-dir");
  if (at < 0 || at + 1 >= words.length) return { stateDir: undefined, rest: words };
  return { stateDir: words[at + 1], rest: [...words.slice(0, at), ...words.slice(at + 2)] };
}

function readOptions(words: readonly string[]): { options: ServeOptions; problems: readonly string[] } {
  const options: Record<string, unknown> = {};
  const problems: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const [flag = "", ...inline] = (words[at] ?? "").split("=");
    if (flag === "--json") continue;
    const field = FIELDS.find((one) => one.flag === flag);
    if (field === undefined) {
      // What follows an unknown option is most likely its value.
      const next = words[at + 1];
      const value = flag.startsWith("-") && next !== undefined && !next.startsWith("-") ? ` ${next}` : "";
      if (value !== "") at++;
      problems.push(
        `\`pyro mcp serve\` has no ${flag.startsWith("-") ? "option" : "argument"} ${flag}${value}`,
      );
      continue;
    }
    const value = field.type === "boolean" ? true : inline.length > 0 ? inline.join("=") : words[++at];
    if (value === undefined) problems.push(`${flag} has no value`);
    else take(field, value, options, problems);
  }
  return { options, problems };
}

/** Keeps a value that the declaration takes. */
function take(
  { name, flag, type }: OptionField,
  value: string | true,
  options: Record<string, unknown>,
  problems: string[],
): void {
  const whole = type === "array" ? [...((options[name] as string[] | undefined) ?? []), value] : value;
  const { success, error } = mcpServe.input.shape[name].safeParse(whole);
  if (success) options[name] = whole;
  else problems.push(`${flag} ${String(value)}: ${error.issues[0]?.message ?? "not valid"}`);
}
