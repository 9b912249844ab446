import { LIMITS } from "../../protocol/index.js";

/** The bounds of one server; tests have smaller ones. */
export interface HttpLimits {
  readonly bodyBytes: number;
  readonly connections: number;
  readonly requests: number;
  readonly sessions: number;
  readonly sessionIdleMs: number;
  readonly headersMs: number;
  readonly requestMs: number;
  readonly keepAliveMs: number;
  readonly stalledMs: number;
}

export const HTTP_LIMITS: HttpLimits = {
  bodyBytes: LIMITS.mcpHttpBodyBytes,
  connections: LIMITS.mcpHttpConnections,
  requests: LIMITS.mcpHttpRequests,
  sessions: LIMITS.mcpHttpSessions,
  sessionIdleMs: LIMITS.mcpHttpSessionIdleMs,
  headersMs: LIMITS.mcpHttpHeadersMs,
  requestMs: LIMITS.mcpHttpRequestMs,
  keepAliveMs: LIMITS.mcpHttpKeepAliveMs,
  stalledMs: LIMITS.mcpHttpStalledMs,
};
