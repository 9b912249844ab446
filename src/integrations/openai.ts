/**
 * `pyro-mcp/openai`: pyro for OpenAI's Responses API. Types are those of the package `openai`, which the program brings
 * along; nothing of it is imported at run time.
 */
import type { OpenAI } from "openai";
import type { PyroTool } from "../mcp/index.js";

/**
 * Tools as `responses.create` takes them. Not `strict`: that demands every field of every call, and most of ours may be
 * left out. A call with wrong arguments is answered with what would be right.
 */
export function functionTools(tools: readonly PyroTool[]): OpenAI.Responses.FunctionTool[] {
  return tools.map(({ name, description, inputSchema }) => ({
    ...{ type: "function", name, description, strict: false },
    parameters: inputSchema,
  }));
}
