import { randomUUID } from "node:crypto";
import {
  createMcpHandler,
  hostHeaderValidationResponse,
  isLegacyRequest,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
  WebStandardStreamableHTTPServerTransport,
  type McpHttpHandler,
} from "@modelcontextprotocol/server";
import { serverBuilder, type ServerBuilder, type ServerOptions } from "../../src/mcp/builder.js";
import { contentTools } from "./content-tools.js";
import { INPUT_TOOLS, stateCodec } from "./input-tools.js";
import { addResourcesAndPrompts } from "./resources.js";
import { webServer } from "./web-server.js";

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
    tools: [...contentTools(() => modern.notify), ...INPUT_TOOLS],
    extend: addResourcesAndPrompts,
  });
  const modern: McpHttpHandler = createMcpHandler(builder.build, { legacy: "reject" });
  const legacy = sessions(builder);
  const server = await webServer(
    async (request) =>
      hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
      originValidationResponse(request, localhostAllowedOrigins()) ??
      ((await isLegacyRequest(request)) ? await legacy.answer(request) : await modern.fetch(request)),
  );
  return {
    url: `${server.origin}/mcp`,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await modern.close();
      await legacy[Symbol.asyncDispose]();
      await builder[Symbol.asyncDispose]();
    },
  };
}

/** Sessions of the revisions before 2026-07-28: one server for each. */
function sessions(builder: ServerBuilder) {
  const open = new Map<string, WebStandardStreamableHTTPServerTransport>();
  const opened = async (): Promise<WebStandardStreamableHTTPServerTransport> => {
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void open.set(id, transport),
      onsessionclosed: (id) => void open.delete(id),
    });
    await (await builder.build()).connect(transport);
    return transport;
  };
  return {
    answer: async (request: Request): Promise<Response> => {
      const id = request.headers.get("mcp-session-id");
      const session = id === null ? await opened() : open.get(id);
      return session === undefined ? refused() : await session.handleRequest(request);
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...open.values()].map((transport) => transport.close()));
    },
  };
}

function refused(): Response {
  const error = { code: -32001, message: "Session not found" };
  return Response.json({ jsonrpc: "2.0", error, id: null }, { status: 404 });
}
