/**
 * `pyro-mcp/anthropic`: pyro for the tool runner of Anthropic's SDK. The types are the SDK's own by their structure;
 * nothing of the package `@anthropic-ai/sdk` is imported.
 */
import type { PyroTool, ToolInputSchema } from "../mcp/index.js";
import { checkPeer } from "./shared/peer.js";

checkPeer("@anthropic-ai/sdk");

/** A tool as `client.beta.messages.toolRunner` takes it. */
export interface RunnableTool {
  readonly type: "custom";
  readonly name: string;
  readonly description: string;
  readonly input_schema: ToolInputSchema;
  /** @throws {Error} what the model is told of a call that failed */
  readonly run: (
    args: unknown,
    context?: { readonly signal?: AbortSignal | null | undefined },
  ) => Promise<string>;
  readonly parse: (content: unknown) => unknown;
}

/** Arguments are judged by the tool itself: its answer tells the model what would be right. */
export function runnableTools(tools: readonly PyroTool[]): RunnableTool[] {
  return tools.map(({ name, description, inputSchema, call }) => ({
    ...{ type: "custom", name, description, input_schema: inputSchema },
    run: async (args, context) => {
      const { isError, text } = await call(args, { signal: context?.signal ?? undefined });
      // The runner marks the result as an error then.
      if (isError) throw new Error(text);
      return text;
    },
    parse: (content) => content,
  }));
}
