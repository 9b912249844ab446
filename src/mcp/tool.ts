import type { CallToolResult, StandardSchemaWithJSON, ToolAnnotations } from "@modelcontextprotocol/server";
import * as z from "zod";
import { field, type Declaration, type ToolSet } from "../operations/index.js";
import { LIMITS } from "../protocol/index.js";
import type { NetworkOptions, Pyro, WorkspaceSource } from "../sdk/index.js";

/** One call of a tool. */
export interface ToolCall {
  readonly pyro: Pyro;
  /** Fires when the caller cancelled, or went away. */
  readonly signal: AbortSignal;
  /** Whether the caller went away: what it started may be of use to the next one. */
  readonly isLeft: () => boolean;
  /** What goes on, for callers that asked for progress. */
  readonly onProgress: (message: string) => void;
  /** No call takes longer than this, in milliseconds. */
  readonly blockMs: number;
  /** @throws {PyroError} HOST_PATH_NOT_ALLOWED */
  readonly hostPath: (path: string) => Promise<string>;
  /** What a workspace begins with where the call names nothing. */
  readonly defaultSource: WorkspaceSource | undefined;
  /** What its machines may reach. */
  readonly network: NetworkOptions | undefined;
}

/** What the tools of one server have in common. */
export interface ToolSetting {
  readonly set: ToolSet;
  /** Taken when a call names none. */
  readonly environment: string;
  /** Whether the user let the machines of this server reach anything. */
  readonly hasNetwork: boolean;
  /** Whether the user let them publish ports. */
  readonly mayPublish: boolean;
}

/** How a tool answers. */
export type ToolHandler = (args: unknown, call: ToolCall) => Promise<CallToolResult>;

/** Most bytes of the guest's that one result shows when the call asks for it. */
export const MAX_BYTES_MAX = 65_536;

/** Kept of a call's time bound for the answer itself, in milliseconds. */
export const ANSWER_MS = 1_000;

/**
 * The input of a tool: the operation's without what only the command line or the full profile has, with the server's own environment and
 * a bound of text that models can take.
 */
export function toolInput(
  declaration: Declaration,
  { environment, set, hasNetwork, mayPublish }: ToolSetting,
): z.ZodObject {
  const { notInTool = [], fullOnly = [], withNetwork = [], withPublishing = [] } = declaration;
  const missing = [
    ...notInTool,
    ...(set === "workspace-full" ? [] : fullOnly),
    ...(hasNetwork ? [] : withNetwork),
    ...(mayPublish ? [] : withPublishing),
  ];
  const omitted = missing.map((name) => [name, true] as const);
  const schema = declaration.input.omit(Object.fromEntries(omitted) as never) as unknown as z.ZodObject;
  const shape = schema.shape as Record<string, z.ZodType | undefined>;
  const changed: Record<string, z.ZodType> = {};
  const describe = (name: string, type: z.ZodType): void => {
    const description = shape[name]?.description;
    changed[name] = description === undefined ? type : type.describe(description);
  };
  if (shape["environment"] !== undefined) describe("environment", field.environment().default(environment));
  if (shape["max_bytes"] !== undefined)
    describe("max_bytes", z.int().min(1).max(MAX_BYTES_MAX).default(LIMITS.mcpTextBytes));
  if (shape["max_chars"] !== undefined)
    describe("max_chars", z.int().min(1).max(MAX_BYTES_MAX).default(LIMITS.mcpTextBytes));
  for (const name of declaration.neededInTool ?? []) {
    const optional = shape[name];
    if (optional instanceof z.ZodOptional) describe(name, optional.unwrap() as z.ZodType);
  }
  return schema.extend(changed);
}

/**
 * The schema as the SDK lists it, and with no say of the SDK in what is refused: the handler proves the input itself,
 * so that its errors have our codes and hints. Every word of it costs each conversation: `says` replaces descriptions,
 * and what says nothing to a model is left out.
 */
export function listed(schema: z.ZodObject, says?: Readonly<Record<string, string>>): StandardSchemaWithJSON {
  const { jsonSchema } = (schema as unknown as StandardSchemaWithJSON)["~standard"];
  const slim: typeof jsonSchema = {
    input: (options) => slimmed(jsonSchema.input(options), says),
    output: (options) => slimmed(jsonSchema.output(options), says),
  };
  return {
    "~standard": { version: 1, vendor: "pyro", jsonSchema: slim, validate: (value) => ({ value }) },
  };
}

type JsonObject = Record<string, unknown>;

function slimmed(schema: JsonObject, says: Readonly<Record<string, string>> | undefined): JsonObject {
  if (says === undefined) return schema;
  const properties = Object.entries(schema["properties"] as Record<string, JsonObject>).map(
    ([name, { description: _, propertyNames: __, ...property }]) => {
      // An empty default is what leaving the field out says already.
      const isEmpty = ["{}", "[]", '""'].includes(JSON.stringify(property["default"]));
      const plain = { ...property, ...(isEmpty ? { default: undefined } : {}) };
      return [name, { ...plain, ...(says[name] === undefined ? {} : { description: says[name] }) }] as const;
    },
  );
  const { $schema: _, ...rest } = schema;
  return JSON.parse(JSON.stringify({ ...rest, properties: Object.fromEntries(properties) })) as JsonObject;
}

const RUNS_PROGRAMS: ReadonlySet<string> = new Set([
  ...["vm_run", "vm_exec", "workspace_exec", "shell_open", "shell_write", "service_start"],
]);

/**
 * All four hints, always. What happens inside a disposable VM without a network destroys nothing and reaches nobody;
 * only an export of the full profile may replace a file of the host. With a network, what runs programs reaches out.
 */
export function hintsOf(
  { name, kind }: Pick<Declaration, "name" | "kind">,
  { set, hasNetwork }: Pick<ToolSetting, "set" | "hasNetwork">,
): Required<Omit<ToolAnnotations, "title">> {
  return {
    readOnlyHint: kind === "read",
    destructiveHint: set === "workspace-full" && ["workspace_export", "workspace_disk_export"].includes(name),
    idempotentHint: kind === "read",
    openWorldHint: hasNetwork && RUNS_PROGRAMS.has(name),
  };
}
