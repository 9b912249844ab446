import type * as z from "zod";
import { parseInput, type Declaration } from "../operations/index.js";
import { PyroError } from "../protocol/index.js";
import { UsageError } from "./failure.js";
import { flagOf, shownName } from "./options.js";

/** The proven input; a mistake on the command line is wrong usage. */
export function proven<Input extends z.ZodObject>(
  declaration: Declaration<Input>,
  input: Record<string, unknown>,
): z.output<Input> {
  const shown = (field: string): string =>
    (declaration.positionals as readonly string[]).includes(field)
      ? field
      : flagOf(shownName(declaration, field));
  try {
    return parseInput(declaration, declaration.input, input, shown);
  } catch (error) {
    const { code, message } = PyroError.from(error);
    if (code !== "INVALID_ARGUMENT") throw error;
    throw new UsageError(message, `run \`pyro ${declaration.command.join(" ")} --help\``);
  }
}
