import { randomUUID } from "node:crypto";
import {
  createMcpHandler,
  isLegacyRequest,
  WebStandardStreamableHTTPServerTransport,
  type McpHttpHandler,
} from "@modelcontextprotocol/server";
import type { ServerBuilder } from "../builder.js";
import type { Answer } from "./web-server.js";

/** Answers requests of both protocol eras. */
export interface McpEndpoint extends AsyncDisposable {
  readonly answer: Answer;
  /** To clients that listen. */
  readonly notify: McpHttpHandler["notify"];
}

/** Sessions of older clients at once; the oldest ends for a new one, as clients seldom say that they leave. */
const SESSIONS_MAX = 64;

export function mcpEndpoint(builder: ServerBuilder): McpEndpoint {
  const modern = createMcpHandler(builder.build, { legacy: "reject" });
  const legacy = sessions(builder);
  return {
    notify: modern.notify,
    answer: async (request) =>
      (await isLegacyRequest(request)) ? await legacy.answer(request) : await modern.fetch(request),
    [Symbol.asyncDispose]: async () => {
      await modern.close();
      await legacy[Symbol.asyncDispose]();
    },
  };
}

/** Of the revisions before 2026-07-28: one server for each. */
function sessions(builder: ServerBuilder) {
  const open = new Map<string, WebStandardStreamableHTTPServerTransport>();
  const opened = async (): Promise<WebStandardStreamableHTTPServerTransport> => {
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: async (id) => {
        open.set(id, transport);
        const [oldest] = open;
        if (open.size <= SESSIONS_MAX || oldest === undefined) return;
        open.delete(oldest[0]);
        await oldest[1].close();
      },
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
