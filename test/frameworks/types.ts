/** What the integrations give is what the frameworks take: compiled by a test, against the installed frameworks. */
import type { McpSdkServerConfigWithInstance } from "@anthropic-ai/claude-agent-sdk";
import type Anthropic from "@anthropic-ai/sdk";
import type { StructuredToolInterface } from "@langchain/core/tools";
import { Workspace, type WorkspaceSandbox } from "@mastra/core/workspace";
import { streamText, type Experimental_SandboxSession, type LanguageModel, type ToolSet } from "ai";
import { createDeepAgent, type SandboxBackendProtocolV2 } from "deepagents";
import { createAgent } from "langchain";
import { createTools, Pyro } from "pyro-mcp";
import { aiTools, sandboxSession } from "pyro-mcp/ai";
import { runnableTools } from "pyro-mcp/anthropic";
import { mcpServer } from "pyro-mcp/claude-agent-sdk";
import { sandboxBackend } from "pyro-mcp/deepagents";
import { langchainTools } from "pyro-mcp/langchain";
import { pyroSandbox } from "pyro-mcp/mastra";

declare const model: LanguageModel;
declare const client: Anthropic;
const pyro = new Pyro();
const { tools } = await createTools();

export const toolSet: ToolSet = aiTools(tools);
export const session: Experimental_SandboxSession = sandboxSession(pyro, "id");
streamText({ model, prompt: "", tools: aiTools(tools), experimental_sandbox: session });

export const structured: StructuredToolInterface[] = langchainTools(tools);
createAgent({ model: "", tools: structured });

export const backend: SandboxBackendProtocolV2 = sandboxBackend(pyro, "id");
createDeepAgent({ backend });

export const sandbox: WorkspaceSandbox = pyroSandbox(pyro, { environment: "debian:12" });
new Workspace({ sandbox });

export const server: McpSdkServerConfigWithInstance = mcpServer({ profile: "vm-run" });

client.beta.messages.toolRunner({ model: "", max_tokens: 1, messages: [], tools: runnableTools(tools) });

// @ts-expect-error: what the framework does not take is an error here as well
export const wrong: WorkspaceSandbox = session;
