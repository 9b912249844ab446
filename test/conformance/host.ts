import { serverBuilder, type ServerOptions } from "../../src/mcp/builder.js";
import { localOnly, mcpEndpoint, webServer, type McpEndpoint } from "../../src/mcp/http/index.js";
import { contentTools } from "./content-tools.js";
import { INPUT_TOOLS, stateCodec } from "./input-tools.js";
import { addResourcesAndPrompts } from "./resources.js";

const CHANGING = { listChanged: true };

/**
 * The server of `pyro mcp serve` over Streamable HTTP on the loopback, with the tools, resources and prompts besides
 * that the public conformance suite calls by name. They are listed and answered for by the same code as pyro's own.
 */
export async function conformanceHost(
  options: ServerOptions,
): Promise<AsyncDisposable & { readonly url: string }> {
  const builder = serverBuilder(options, {
    server: {
      capabilities: {
        ...{ logging: {}, completions: {}, tools: CHANGING, prompts: CHANGING },
        resources: { ...CHANGING, subscribe: true },
      },
      requestState: { verify: (state, context) => stateCodec.verify(state, context) },
    },
    tools: [...contentTools(() => endpoint.notify), ...INPUT_TOOLS],
    extend: addResourcesAndPrompts,
  });
  const endpoint: McpEndpoint = mcpEndpoint(builder);
  // The suite has no token to send.
  const server = await webServer(localOnly(endpoint.answer));
  return {
    url: `${server.origin}/mcp`,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await endpoint[Symbol.asyncDispose]();
      await builder[Symbol.asyncDispose]();
    },
  };
}
