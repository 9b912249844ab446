/**
 * The MCP server over Streamable HTTP, for clients that start no process of their own. Invariants: it listens on the
 * loopback unless the user names another address, and then with a token of the user's; every request has a Host and an
 * Origin of this server and the token, or reaches nothing (threats: DNS rebinding, pages of a browser, other users of
 * the machine, the network); bodies, sessions, connections and waits are bounded.
 */
export { mcpEndpoint, type McpEndpoint } from "./endpoint.js";
export type { Answer, Exchange } from "./exchange.js";
export { localOnly } from "./guard.js";
export { HTTP_LIMITS, type HttpLimits } from "./limits.js";
export { serveHttp, type HttpPlace, type ServeHttpOptions } from "./serve.js";
export { httpToken } from "./token.js";
export { webServer, type WebServer } from "./web-server.js";
