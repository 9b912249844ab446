/** `pyro-mcp/langchain`: pyro's tools for LangChain and LangGraph. */
import type { DynamicStructuredTool } from "@langchain/core/tools";
import type { PyroTool } from "../mcp/index.js";
import { checkPeer, missing } from "./shared/peer.js";

checkPeer("@langchain/core");
const core = await import("@langchain/core/tools").catch(missing("@langchain/core"));
const { ToolMessage } = await import("@langchain/core/messages");

/**
 * Tools for `createAgent`, `bindTools` and LangGraph. The model is told the answer's text; the message's `artifact` holds
 * its fields, and its `status` says whether the call failed.
 */
export function langchainTools(tools: readonly PyroTool[]): DynamicStructuredTool[] {
  return tools.map(
    ({ name, description, inputSchema, call }) =>
      new core.DynamicStructuredTool({
        ...{ name, description, schema: inputSchema, responseFormat: "content_and_artifact" },
        func: async (args, _manager, config) => {
          const { isError, text, fields } = await call(args, { signal: config?.signal });
          const id = config?.toolCall?.id;
          if (!isError || id === undefined) return [text, fields];
          const message = {
            content: text,
            name,
            tool_call_id: id,
            status: "error",
            artifact: fields,
          } as const;
          return [new ToolMessage(message), fields];
        },
      }),
  );
}
