import { createMcpHandler, isLegacyRequest, type McpHttpHandler } from "@modelcontextprotocol/server";
import type { ServerBuilder } from "../builder.js";
import { messageOf, type Answer } from "./exchange.js";
import { HTTP_LIMITS, type HttpLimits } from "./limits.js";
import { sessions } from "./sessions.js";

/** Answers requests of both protocol eras. */
export interface McpEndpoint extends AsyncDisposable {
  readonly answer: Answer;
  /** To clients that listen. */
  readonly notify: McpHttpHandler["notify"];
}

export function mcpEndpoint(builder: ServerBuilder, limits: HttpLimits = HTTP_LIMITS): McpEndpoint {
  const { bodyBytes: maxRequestBodySize, keepAliveMs } = limits;
  const modern = createMcpHandler(builder.build, { legacy: "reject", maxRequestBodySize, keepAliveMs });
  const legacy = sessions(builder, limits);
  return {
    notify: modern.notify,
    answer: async (exchange) => {
      const read = await messageOf(exchange);
      if (read instanceof Response) return read;
      const { request } = exchange;
      const { message } = read;
      return (await isLegacyRequest(request, message))
        ? await legacy.answer(exchange, message)
        : await modern.fetch(request, { parsedBody: message });
    },
    [Symbol.asyncDispose]: async () => {
      await modern.close();
      await legacy[Symbol.asyncDispose]();
    },
  };
}
