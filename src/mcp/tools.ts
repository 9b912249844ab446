import type { CallToolResult, ToolAnnotations } from "@modelcontextprotocol/server";
import { PyroError } from "../protocol/index.js";
import { serverBuilder, type ListedTool, type ServerOptions } from "./builder.js";
import { errorResult, META_KEY } from "./result.js";
import { hintsOf, type ToolSetting } from "./tool.js";

/** A JSON Schema of type "object", draft 2020-12, without additional properties. */
export type ToolInputSchema = Readonly<Record<string, unknown>> & { readonly type: "object" };

/** One call of a tool by a program. */
export interface ToolCallOptions {
  /** Cancels the call, and what it started. */
  readonly signal?: AbortSignal | undefined;
  /** What goes on, for people who wait. */
  readonly onProgress?: ((message: string) => void) | undefined;
}

/** What a model is told, and what a program may want to know besides. */
export interface ToolAnswer {
  /** Whether the call failed. A command of the guest's that fails is no failure of the call. */
  readonly isError: boolean;
  /** All of it as one text: what a model reads. */
  readonly text: string;
  /** The same in its parts: our own words first and alone, then the guest's bytes. */
  readonly parts: readonly string[];
  /** The machine fields: those of the record, of the command, or `error` of a failure. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** One tool, as any framework can offer it to its model. */
export interface PyroTool {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly inputSchema: ToolInputSchema;
  /** The four hints of MCP. */
  readonly annotations: Required<Omit<ToolAnnotations, "title">>;
  /** Never rejects: a failure is an answer with code and hint, which the model can act on. */
  readonly call: (args: unknown, options?: ToolCallOptions) => Promise<ToolAnswer>;
}

/** The tools of one profile in this process, the same ones with the same answers that the MCP server has. */
export interface PyroTools extends AsyncDisposable {
  readonly tools: readonly PyroTool[];
  /** For the system prompt: what concerns several tools at once. */
  readonly instructions: string;
  /**
   * Calls one by its name, for loops of one's own. `args` may be the JSON text that a model wrote. Never rejects: a name
   * that does not exist and text that is no JSON are answers that name what would be right.
   */
  readonly call: (name: string, args: unknown, options?: ToolCallOptions) => Promise<ToolAnswer>;
}

/**
 * The tools without MCP, for function calling of any framework. Nothing is started or asked before the first call.
 * Dispose it to close the connection to the daemon; workspaces stay.
 * @throws {PyroError} INVALID_ARGUMENT for a profile or mode that this version does not have, and for options that
 * exclude each other; PROJECT_NOT_FOUND
 */
export async function createTools(options: ServerOptions = {}): Promise<PyroTools> {
  const builder = serverBuilder(options);
  const call: PyroTools["call"] = async (name, args, { signal, onProgress } = {}) => {
    try {
      if (!tools.some((tool) => tool.name === name)) throw unknownTool(name, tools);
      const caller = {
        signal: signal ?? new AbortController().signal,
        isGone: () => false,
        say: (message: string) => onProgress?.(message),
      };
      return toAnswer(await builder.call(name, parsed(args), caller));
    } catch (error) {
      return toAnswer(errorResult(error, args));
    }
  };
  const tools = (await builder.operations()).map((tool) =>
    toTool(tool, builder.setting, (args, callOptions) => call(tool.name, args, callOptions)),
  );
  return {
    tools,
    instructions: builder.instructions,
    call,
    [Symbol.asyncDispose]: async () => {
      builder.leave();
      await builder.settle();
      await builder[Symbol.asyncDispose]();
    },
  };
}

function toTool(
  { name, summary, description, kind, inputSchema }: ListedTool,
  setting: ToolSetting,
  call: PyroTool["call"],
): PyroTool {
  const schema = inputSchema["~standard"].jsonSchema.input({ target: "draft-2020-12" });
  return {
    ...{ name, title: summary, description, call },
    inputSchema: { type: "object", ...schema },
    annotations: hintsOf({ name, kind }, setting),
  };
}

/** What the model wrote as arguments: most APIs hand it on as text, which may be empty where a tool needs none. */
function parsed(args: unknown): unknown {
  if (typeof args !== "string") return args ?? {};
  if (args.trim() === "") return {};
  try {
    return JSON.parse(args) as unknown;
  } catch (error) {
    throw new PyroError("INVALID_ARGUMENT", `the arguments are no JSON: ${(error as Error).message}`, {
      hint: "write them as one JSON object, as the tool's schema says",
    });
  }
}

function unknownTool(name: string, tools: readonly PyroTool[]): PyroError {
  return new PyroError("INVALID_ARGUMENT", `there is no tool ${JSON.stringify(name)}`, {
    hint: `the tools are ${tools.map((tool) => tool.name).join(", ")}`,
  });
}

function toAnswer({ content, structuredContent, isError, _meta }: CallToolResult): ToolAnswer {
  const parts = content.flatMap((block) => (block.type === "text" ? [block.text] : []));
  return {
    isError: isError === true,
    text: parts.join("\n"),
    parts,
    fields: (structuredContent ?? _meta?.[META_KEY] ?? {}) as Readonly<Record<string, unknown>>,
  };
}
