import { shown } from "../kit/index.js";
import { invalidRecipe, type Place } from "./recipe.js";

/** @throws {PyroError} BUILD_FILE_INVALID */
export function requireVariableName(place: Place, name: string): void {
  if (name !== "" && !/[=\0\s]/.test(name)) return;
  throw invalidRecipe(
    place,
    `${shown(name)} is no name of a variable`,
    "write NAME=value, with letters, digits and _",
  );
}
