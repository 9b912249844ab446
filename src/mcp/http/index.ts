/**
 * The MCP server over Streamable HTTP, for clients of this machine that start no process of their own. Invariants:
 * it listens on the loopback only; every request has a Host and an Origin of this machine and the token, or reaches
 * nothing (threats: DNS rebinding, pages of a browser, other users of the machine); bodies and sessions are bounded.
 */
export { mcpEndpoint, type McpEndpoint } from "./endpoint.js";
export type { ListenAddress } from "./listen-address.js";
export { guarded, localOnly } from "./guard.js";
export { httpToken } from "./token.js";
export { webServer, type Answer, type WebServer } from "./web-server.js";
