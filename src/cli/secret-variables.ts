import { UsageError } from "./failure.js";

/** `--secret-env NAME` or `NAME=VARIABLE`, as {NAME: VARIABLE}. */
export function secretVariables(options: unknown): Record<string, string> {
  const given = ((options ?? []) as readonly string[]).map((text) => {
    const [name = "", variable = name] = text.split(/=(.*)/s);
    return [name, variable] as const;
  });
  const twice = given.find(([name], index) => given.findIndex(([other]) => other === name) < index);
  if (twice !== undefined)
    throw new UsageError(`--secret-env ${twice[0]} is given twice`, "a secret has one variable in a process");
  return Object.fromEntries(given);
}
