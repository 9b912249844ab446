import { Argument, Option, type Command } from "commander";
import * as z from "zod";
import type { Declaration } from "../operations/index.js";
import { splitPair } from "./pair.js";
import { secretVariables } from "./secret-variables.js";

/** What a field of an operation's input looks like to the command line. */
interface Property {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly default?: unknown;
  readonly description?: string;
}

/** Commander keeps options by camelCase names; ours are the contract's field names. */
type Given = Readonly<Record<string, unknown>>;

/** `timeout_seconds` as `--timeout-seconds`. */
export function flagOf(field: string): string {
  return `--${field.replaceAll("_", "-")}`;
}

/** Adds the arguments and options that an operation's input has on the command line. */
export function addInput(command: Command, declaration: Declaration): void {
  for (const [name, property] of Object.entries(propertiesOf(declaration))) {
    if (declaration.positionals.includes(name)) continue;
    const option = toOption(shownName(declaration, name), property);
    const letter = (declaration.letters as Readonly<Record<string, string>> | undefined)?.[name];
    command.addOption(letter === undefined ? option : withLetter(option, letter));
  }
  if (declaration.idOnly !== undefined) command.option("--id-only", "print only the id");
  const properties = propertiesOf(declaration);
  for (const [index, name] of declaration.positionals.entries()) {
    const { type, description } = properties[name] ?? {};
    // A word that has a default may be left out where nothing has to stand behind it.
    const rest = declaration.positionals.slice(index);
    const optional =
      rest.every((word) => properties[word]?.default !== undefined) ||
      declaration.mayBeLeftOut?.includes(name) === true;
    const word = optional ? `[${name}]` : `<${name}>`;
    const label = name === "argv" ? "command" : name;
    const many = optional ? `[${label}...]` : `<${label}...>`;
    const argument = new Argument(type === "array" ? many : word, description);
    command.addArgument(type === "integer" || type === "number" ? argument.argParser(toNumber) : argument);
  }
}

/** The input that was given: only what stood on the command line, under the contract's field names. */
export function givenInput(
  declaration: Declaration,
  positionals: readonly unknown[],
  options: Given,
): Record<string, unknown> {
  const input: Record<string, unknown> = {};
  declaration.positionals.forEach((name, index) => (input[name] = positionals[index]));
  for (const name of Object.keys(propertiesOf(declaration))) {
    if (declaration.positionals.includes(name)) continue;
    const negation = name.startsWith("no_");
    const value = options[camelCase(negation ? name.slice(3) : shownName(declaration, name))];
    if (negation) input[name] = value === false;
    else if (value !== undefined) input[name] = value;
  }
  return input;
}

/**
 * Options of the kind K=V as records; the others as they are.
 * @throws {UsageError}
 */
export function withRecords(declaration: Declaration, input: Given): Record<string, unknown> {
  const properties = propertiesOf(declaration);
  return Object.fromEntries(
    Object.entries(input).map(([name, value]) => {
      if (name === "secret_env") return [name, secretVariables(value)];
      if (properties[name]?.type !== "object" || !Array.isArray(value)) return [name, value];
      const flag = flagOf(shownName(declaration, name));
      const pairs = (value as string[]).map((text) => splitPair(text, flag, `write \`${flag} NAME=value\``));
      return [name, Object.fromEntries(pairs)];
    }),
  );
}

/** Under which name the command line has a field. */
export function shownName(declaration: Declaration, name: string): string {
  return (declaration.commandLineNames as Readonly<Record<string, string>> | undefined)?.[name] ?? name;
}

function propertiesOf(declaration: Declaration): Record<string, Property> {
  const { properties } = z.toJSONSchema(declaration.input, { io: "input" });
  const hidden: readonly string[] = declaration.notOnCommandLine ?? [];
  return Object.fromEntries(
    Object.entries(properties ?? {}).filter(([name]) => !hidden.includes(name)) as [string, Property][],
  );
}

function toOption(name: string, property: Property): Option {
  const description = describe(property);
  switch (property.type) {
    case "boolean":
      return new Option(flagOf(name), description);
    case "integer":
    case "number":
      return new Option(`${flagOf(name)} <n>`, description).argParser(toNumber);
    case "object":
      return new Option(`${flagOf(name)} <K=V>`, description).argParser(collect);
    case "array":
      return new Option(`${flagOf(name)} <${name}>`, description).argParser(collect);
    case undefined:
    default:
      return new Option(`${flagOf(name)} <${property.enum === undefined ? name : "name"}>`, description);
  }
}

/** The same option, by one letter too. */
function withLetter({ flags, description }: Option, letter: string): Option {
  return new Option(`-${letter}, ${flags}`, description);
}

function describe({ description = "", enum: choices, default: value, type }: Property): string {
  const details = [
    ...(choices === undefined ? [] : [choices.join(", ")]),
    ...(value === undefined || type === "boolean" || type === "object" || type === "array"
      ? []
      : [`default ${JSON.stringify(value).replaceAll('"', "")}`]),
  ];
  return details.length === 0 ? description : `${description} (${details.join("; ")})`;
}

/** A number, or the text as it is: the schema then says what was expected. */
function toNumber(text: string): number | string {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

function collect(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), text];
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
