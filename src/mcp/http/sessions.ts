import { randomUUID } from "node:crypto";
import {
  isInitializeRequest,
  isSpecType,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import type { ServerBuilder } from "../builder.js";
import type { Exchange } from "./exchange.js";
import type { HttpLimits } from "./limits.js";
import { refusal } from "./refusal.js";

/** One client of a revision before 2026-07-28. */
interface Session {
  readonly transport: WebStandardStreamableHTTPServerTransport;
  /** Requests and streams that are open. */
  busy: number;
  /** Ends it, once it was not used for long. */
  idle?: NodeJS.Timeout;
}

/** What is cancelled gets no answer, and neither SDK ends the stream that would have had it: each took a place for good. */
function endCancelled({ transport }: Session, message: unknown): void {
  if (!isSpecType.CancelledNotification(message)) return;
  const { requestId } = message.params;
  if (requestId !== undefined) transport.closeSSEStream(requestId);
}

/** Answers the requests of all sessions. */
export interface Sessions extends AsyncDisposable {
  readonly answer: (exchange: Exchange, message: unknown) => Promise<Response>;
}

const RETRY_AFTER_S = 5;

/**
 * Sessions of older clients: a server each, from `initialize` to DELETE, or until nobody used it for long. Clients
 * seldom say that they leave; so where there are too many, the one that was not used for longest ends for a new one.
 */
export function sessions(
  builder: ServerBuilder,
  limits: Pick<HttpLimits, "sessions" | "sessionIdleMs" | "bodyBytes" | "keepAliveMs">,
): Sessions {
  /** In the order of their last use, but for those in use. */
  const open = new Map<string, Session>();

  const forget = (id: string): void => {
    clearTimeout(open.get(id)?.idle);
    open.delete(id);
  };
  const end = async (id: string): Promise<void> => {
    const session = open.get(id);
    forget(id);
    await session?.transport.close();
  };
  /** Holds a session for as long as the answer takes. */
  const use = (id: string, session: Session, closed: AbortSignal): void => {
    session.busy++;
    clearTimeout(session.idle);
    const left = (): void => {
      session.busy--;
      if (session.busy > 0 || open.get(id) !== session) return;
      open.delete(id);
      open.set(id, session);
      session.idle = setTimeout(() => void end(id), limits.sessionIdleMs).unref();
    };
    if (closed.aborted) left();
    else closed.addEventListener("abort", left, { once: true });
  };
  /** Whether there is room for one more. */
  const makeRoom = async (): Promise<boolean> => {
    if (open.size < limits.sessions) return true;
    const unused = [...open].find(([, { busy }]) => busy === 0);
    if (unused === undefined) return false;
    await end(unused[0]);
    return open.size < limits.sessions;
  };

  const begin = async ({ request, closed }: Exchange, message: unknown): Promise<Response> => {
    if (!(await makeRoom())) {
      const headers = { "retry-after": String(RETRY_AFTER_S) };
      return refusal(503, `all ${limits.sessions} sessions are in use: end one, or try again`, { headers });
    }
    const id = randomUUID();
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => id,
      onsessionclosed: () => forget(id),
      maxRequestBodySize: limits.bodyBytes,
      keepAliveMs: limits.keepAliveMs,
    });
    const session: Session = { transport, busy: 0 };
    open.set(id, session);
    use(id, session, closed);
    let isOpen = false;
    try {
      await (await builder.build()).connect(transport);
      const response = await transport.handleRequest(request, { parsedBody: message });
      isOpen = response.ok;
      return response;
    } finally {
      if (!isOpen) await end(id);
    }
  };

  return {
    answer: async (exchange, message) => {
      const { request, closed } = exchange;
      const id = request.headers.get("mcp-session-id");
      if (id === null) {
        if (isInitializeRequest(message)) return await begin(exchange, message);
        return refusal(400, "a session begins with initialize; what follows names it in Mcp-Session-Id");
      }
      const session = open.get(id);
      // The words and the code of the SDK: clients begin anew at this status.
      if (session === undefined) return refusal(404, "Session not found", { code: -32_001 });
      use(id, session, closed);
      const response = await session.transport.handleRequest(request, { parsedBody: message });
      endCancelled(session, message);
      return response;
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...open.keys()].map(end));
    },
  };
}
