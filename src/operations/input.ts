import type * as z from "zod";
import { PyroError } from "../protocol/index.js";
import type { Declaration } from "./operation.js";

const MESSAGES_MAX = 10;

/**
 * The input of an operation, proven; every mistake is reported at once. `show` gives the name under which this face
 * knows a field.
 * @throws {PyroError} INVALID_ARGUMENT, HOST_COMPAT_NOT_SUPPORTED
 */
export function parseInput<Input extends z.ZodObject>(
  declaration: Pick<Declaration<Input>, "name" | "neverShown">,
  schema: Input,
  value: unknown,
  show: (field: string) => string = (field) => field,
): z.output<Input> {
  if (typeof value === "object" && value !== null && "allow_host_compat" in value) throw hostCompat();
  const parsed = schema.safeParse(value ?? {});
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, MESSAGES_MAX).map((issue) => {
    const isSecret = (declaration.neverShown as readonly string[] | undefined)?.includes(
      String(issue.path[0]),
    );
    return describe(issue, isSecret === true ? undefined : value, show);
  });
  throw new PyroError("INVALID_ARGUMENT", issues.join("; "), {
    hint: `${declaration.name} takes: ${Object.keys(schema.shape).map(show).join(", ")}`,
  });
}

/** The fixed answer to everyone who asks for the host. */
export function hostCompat(): PyroError {
  return new PyroError(
    "HOST_COMPAT_NOT_SUPPORTED",
    "allow_host_compat does not exist: commands never run on the host",
    {
      hint: "leave it out; every command runs in a virtual machine, under software emulation where there is no KVM",
    },
  );
}

function describe(issue: z.core.$ZodIssue, value: unknown, show: (field: string) => string): string {
  if (issue.code === "unrecognized_keys") {
    const more = issue.keys.length - MESSAGES_MAX;
    const shown = issue.keys.slice(0, MESSAGES_MAX).map(quote).join(", ");
    return `unknown: ${shown}${more > 0 ? ` and ${more} more` : ""}`;
  }
  const [first, ...rest] = issue.path.map(String);
  const name = [show(first ?? "input"), ...rest].join(".");
  const seen = at(value, issue.path);
  return `${name}: ${issue.message}${seen === undefined ? "" : ` (given ${quote(seen)})`}`;
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const key of path) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Record<PropertyKey, unknown>)[key];
  }
  return current;
}

/** A value as it is shown in an error: JSON, bounded. */
function quote(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
