/**
 * The MCP face: the tools of a profile over stdio or HTTP (http/), for both protocol eras. Listing tools touches neither daemon nor
 * machine; no call blocks longer than 45 s; our words and the guest's bytes never share a text block; standard output
 * carries JSON-RPC only.
 */
export { listenAddress, type ListenAddress } from "./http/listen-address.js";
export type { HttpPlace } from "./http/serve.js";
export { projectSourceIn } from "./project-source.js";
export { createServer, type PyroMcpServer } from "./server.js";
export type { ServerOptions } from "./builder.js";
export {
  createTools,
  type PyroTool,
  type PyroTools,
  type ToolAnswer,
  type ToolCallOptions,
  type ToolInputSchema,
} from "./tools.js";
