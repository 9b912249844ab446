import type { CallToolResult, StandardSchemaWithJSON, ToolAnnotations } from "@modelcontextprotocol/server";
import type * as z from "zod";
import { field, type Declaration, type Kind } from "../operations/index.js";
import type { Pyro } from "../sdk/index.js";

/** One call of a tool. */
export interface ToolCall {
  readonly pyro: Pyro;
  /** Fires when the caller cancelled, or went away. */
  readonly signal: AbortSignal;
  /** What goes on, for callers that asked for progress. */
  readonly onProgress: (message: string) => void;
  /** No call takes longer than this, in milliseconds. */
  readonly blockMs: number;
}

/** How a tool answers. */
export type ToolHandler = (args: unknown, call: ToolCall) => Promise<CallToolResult>;

/** The input of a tool: the operation's without what only the command line has, and the server's own environment. */
export function toolInput(declaration: Declaration, environment: string): z.ZodObject {
  const omitted = (declaration.notInTool ?? []).map((name) => [name, true] as const);
  const schema = declaration.input.omit(Object.fromEntries(omitted) as never) as unknown as z.ZodObject;
  const { environment: named } = schema.shape as Record<string, z.ZodType | undefined>;
  const described = named?.description;
  if (described === undefined) return schema;
  return schema.extend({ environment: field.environment().default(environment).describe(described) });
}

/**
 * The schema as the SDK lists it, and with no say of the SDK in what is refused: the handler proves the input itself,
 * so that its errors have our codes and hints.
 */
export function listed(schema: z.ZodObject): StandardSchemaWithJSON {
  const { jsonSchema } = (schema as unknown as StandardSchemaWithJSON)["~standard"];
  return { "~standard": { version: 1, vendor: "pyro", jsonSchema, validate: (value) => ({ value }) } };
}

/** All four hints, always. What happens inside a disposable VM without a network destroys nothing and reaches nobody. */
export function hintsOf(kind: Kind): Required<Omit<ToolAnnotations, "title">> {
  return {
    readOnlyHint: kind === "read",
    destructiveHint: false,
    idempotentHint: kind === "read",
    openWorldHint: false,
  };
}
