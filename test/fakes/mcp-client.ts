import { Client, type CallToolRequestOptions } from "@modelcontextprotocol/client";
import { InMemoryTransport } from "@modelcontextprotocol/server";
import { createServer, type ServerOptions } from "../../src/mcp/index.js";

/** The two protocol eras, as clients ask for them. */
export const ERAS = ["2025-11-25", "2026-07-28"] as const;

/** A text result as tests look at it. */
interface ToolText {
  readonly isError: boolean;
  readonly texts: readonly string[];
  readonly fields: Record<string, unknown>;
  readonly record: Record<string, unknown>;
}

export interface McpSession extends AsyncDisposable {
  readonly client: Client;
  /** Calls vm_run. */
  readonly call: (args: Record<string, unknown>, options?: CallToolRequestOptions) => Promise<ToolText>;
  readonly tool: (
    name: string,
    args: Record<string, unknown>,
    options?: CallToolRequestOptions,
  ) => Promise<ToolText>;
}

/** A real client of one era on a server of this process; the profile is vm-run unless another is given. */
export async function mcpSession(
  options: ServerOptions,
  era: (typeof ERAS)[number] = "2026-07-28",
): Promise<McpSession> {
  const server = createServer(options.mode === undefined ? { profile: "vm-run", ...options } : options);
  const [ours, theirs] = InMemoryTransport.createLinkedPair();
  const served = server.serve(theirs);
  const mode = era === "2026-07-28" ? { pin: era } : ("legacy" as const);
  const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode } });
  await client.connect(ours);
  const tool: McpSession["tool"] = async (name, args, callOptions) => {
    const result = await client.callTool({ name, arguments: args }, callOptions);
    return {
      isError: result.isError === true,
      texts: result.content.map((block) => (block.type === "text" ? block.text : block.type)),
      fields: (result._meta?.["pyro/result"] ?? {}) as Record<string, unknown>,
      record: (result.structuredContent ?? {}) as Record<string, unknown>,
    };
  };
  return {
    client,
    tool,
    call: (args, callOptions) => tool("vm_run", args, callOptions),
    [Symbol.asyncDispose]: async () => {
      await client.close();
      await served;
      await server[Symbol.asyncDispose]();
    },
  };
}
