import { Client, type CallToolRequestOptions } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { PYRO } from "./support.js";

/** What a tool answered: our words, the guest's, and the record. */
export interface Answer {
  readonly isError: boolean;
  readonly words: string;
  readonly guest: string;
  readonly record: Record<string, unknown>;
}

/** A client, over whatever transport. */
export interface CallingSession extends AsyncDisposable {
  readonly client: Client;
  readonly call: (
    tool: string,
    args?: Record<string, unknown>,
    options?: CallToolRequestOptions,
  ) => Promise<Answer>;
}

export interface Session extends CallingSession {
  readonly pid: number;
  readonly stderr: () => string;
}

export interface SessionOptions {
  readonly stateDir: string;
  /** Where a chat host would start the server. */
  readonly cwd: string;
  /** Of `pyro mcp serve`. */
  readonly flags?: readonly string[];
}

/** No call takes longer than 45 s (contract section 2); the client gives up a little later. */
const CALL_MS = 50_000;

/** A server in a directory, over stdio, and a client of it. */
export async function mcpSession({ stateDir, cwd, flags = [] }: SessionOptions): Promise<Session> {
  const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode: "auto" } });
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [PYRO, "--state-dir", stateDir, "mcp", "serve", ...flags],
    cwd,
    stderr: "pipe",
    env: { ...(process.env as Record<string, string>), PYRO_POOL: "0" },
  });
  let stderr = "";
  transport.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  await client.connect(transport);
  return { ...sessionOf(client), pid: transport.pid ?? 0, stderr: () => stderr };
}

/** The calls of a client that is connected. */
export function sessionOf(client: Client): CallingSession {
  return {
    client,
    call: async (tool, args = {}, options = {}) => {
      const call = { name: tool, arguments: args };
      const result = await client.callTool(call, { timeout: CALL_MS, ...options });
      const [words = "", guest = ""] = result.content.map((block) =>
        block.type === "text" ? block.text : block.type,
      );
      const record = (result.structuredContent ?? {}) as Record<string, unknown>;
      return { isError: result.isError === true, words, guest, record };
    },
    [Symbol.asyncDispose]: () => client.close(),
  };
}
