import * as z from "zod";
import { allDeclarations } from "../../../src/operations/index.js";

/** What is wrong with a call as pages show it: `workspace_exec(workspace_id="try", command="ls")`. */
export async function toolCallProblem(call: string): Promise<string | undefined> {
  const [, name = "", given = ""] = /^([a-z_]+)\((.*)\)$/.exec(call) ?? [];
  const declaration = (await allDeclarations()).find((one) => one.name === name && one.profiles.length > 0);
  if (declaration === undefined) return `there is no tool ${name}`;
  const input = argumentsOf(given);
  if (input === undefined) return "the arguments cannot be read";
  const checked = declaration.input.safeParse(input);
  return checked.success ? undefined : z.prettifyError(checked.error);
}

/** `a="x", b={"c": 1}` as a record; undefined where it is none. */
function argumentsOf(text: string): unknown {
  // A name before "=" outside of a string begins a field: strings are matched first, and left as they are.
  const json = text.replace(/"(?:[^"\\]|\\.)*"|([a-z_]+)=/g, (match, name?: string) =>
    name === undefined ? match : `"${name}": `,
  );
  try {
    return JSON.parse(`{${json}}`);
  } catch {
    return undefined;
  }
}
