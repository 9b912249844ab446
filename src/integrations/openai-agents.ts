/**
 * `pyro-mcp/openai-agents`: pyro for the OpenAI Agents SDK: a sandbox client whose sessions are workspaces, and the tools
 * of a profile as functions of an agent. Types are those of `@openai/agents`, which the program brings along; of it only
 * `PyroSandboxClient.create` imports anything.
 */
export { agentTools } from "./openai-agents/tools.js";
export { PyroSandboxClient, type PyroSandboxOptions } from "./openai-agents/client.js";
export { PyroSandboxSession, type PyroSandboxState } from "./openai-agents/session.js";
