/**
 * `pyro-mcp/openai`: pyro for OpenAI's Responses API: the tools of a profile as functions, the API's own `shell` and
 * `apply_patch` over one workspace, and the loop around them. Types are those of the package `openai`, which the program
 * brings along; nothing of it is imported at run time.
 */
export { functionTools, workspaceTools, type ResponsesTools } from "./openai/tools.js";
export { runResponses, type RunResponsesOptions, type RunResponsesResult } from "./openai/loop.js";
