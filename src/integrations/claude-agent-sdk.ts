/** `pyro-mcp/claude-agent-sdk`: pyro's MCP server in the process of a program that uses the Claude Agent SDK. */
import type { McpSdkServerConfigWithInstance } from "@anthropic-ai/claude-agent-sdk";
import { createServer, type ServerOptions } from "../mcp/index.js";
import { checkPeer } from "./shared/peer.js";

checkPeer("@anthropic-ai/claude-agent-sdk");

/**
 * One of the `mcpServers` of `query`; make a new one for each query. Its tools are called `mcp__NAME__vm_run` and so on
 * after the name that it has there. When the query ends, its calls in flight are ended and its connection is closed.
 * @throws {PyroError} INVALID_ARGUMENT for a profile or mode that this version does not have, PROJECT_NOT_FOUND
 */
export function mcpServer(options: ServerOptions = {}): McpSdkServerConfigWithInstance {
  const server = createServer(options);
  const instance = {
    connect: (transport: Parameters<typeof server.serve>[0]): Promise<void> => {
      void server.serve(transport).finally(() => server[Symbol.asyncDispose]());
      return Promise.resolve();
    },
  };
  // The SDK's type of it is a class of another MCP library, of which it only calls this.
  return { type: "sdk", name: "pyro", instance };
}
