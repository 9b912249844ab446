import type { FunctionTool } from "@openai/agents";
import type { PyroTools } from "../../mcp/index.js";

/**
 * The tools of `createTools` for `tools` of an agent. Not `strict`: that demands every field of every call. Wrong
 * arguments and failures are answers that the model can act on; for a name that does not exist the SDK ends the run.
 */
export function agentTools({ tools }: Pick<PyroTools, "tools">): FunctionTool[] {
  return tools.map(({ name, description, inputSchema, call }) => ({
    ...{ type: "function", name, description, strict: false },
    parameters: inputSchema as unknown as FunctionTool["parameters"],
    invoke: async (_context, input, details) => (await call(input, { signal: details?.signal })).text,
    needsApproval: async () => false,
    isEnabled: async () => true,
  }));
}
