/**
 * `pyro-mcp/ai`: pyro for the Vercel AI SDK. The types are the SDK's own by their structure; nothing of the package `ai`
 * is imported.
 */
import type { PyroTool, ToolAnswer } from "../mcp/index.js";
import { checkPeer } from "./shared/peer.js";

export { sandboxSession, type SandboxProcess, type SandboxSession } from "./ai/sandbox.js";

checkPeer("ai");

/** A tool as `generateText`, `streamText` and agents take it. */
export interface AiTool {
  readonly title: string;
  readonly description: string;
  readonly inputSchema: { readonly "~standard": StandardSchema };
  readonly execute: (input: unknown, options: { readonly abortSignal?: AbortSignal }) => Promise<ToolAnswer>;
  readonly toModelOutput: (options: { readonly output: ToolAnswer }) => {
    readonly type: "text" | "error-text";
    readonly value: string;
  };
}

/** The standard form of a schema that can tell itself as JSON Schema. */
interface StandardSchema {
  readonly version: 1;
  readonly vendor: string;
  readonly validate: (value: unknown) => { readonly value: unknown };
  readonly jsonSchema: Readonly<Record<"input" | "output", () => Record<string, unknown>>>;
}

/**
 * Tools by their names. Arguments are judged by the tool itself: its answer tells the model what would be right, which
 * the SDK's own refusal does not.
 */
export function aiTools(tools: readonly PyroTool[]): Record<string, AiTool> {
  return Object.fromEntries(tools.map((tool) => [tool.name, aiTool(tool)]));
}

function aiTool({ title, description, inputSchema, call }: PyroTool): AiTool {
  const schema = (): Record<string, unknown> => ({ ...inputSchema });
  return {
    ...{ title, description },
    inputSchema: {
      "~standard": {
        ...{ version: 1, vendor: "pyro", validate: (value) => ({ value }) },
        jsonSchema: { input: schema, output: schema },
      },
    },
    execute: (input, { abortSignal }) => call(input, { signal: abortSignal }),
    toModelOutput: ({ output: { isError, text } }) => ({
      type: isError ? "error-text" : "text",
      value: text,
    }),
  };
}
