import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { must } from "./run.mjs";

const CALL_MS = 50_000;

/** A client starts the installed server as a chat host does, and works in a workspace of the directory. */
export async function overMcp(pyro, directory) {
  const client = new Client({ name: "dist-check", version: "1" }, { versionNegotiation: { mode: "auto" } });
  const transport = new StdioClientTransport({
    ...{ command: pyro, args: ["mcp", "serve"], cwd: directory, env: process.env, stderr: "inherit" },
  });
  await client.connect(transport);
  const call = async (name, given) => {
    const result = await client.callTool({ name, arguments: given }, { timeout: CALL_MS });
    must(result.isError !== true, `${name} failed: ${JSON.stringify(result.content)}`);
    const [words, guest] = result.content.map((block) => block.text);
    return { words, guest, record: result.structuredContent ?? {} };
  };
  const { tools } = await client.listTools();
  const { record } = await call("workspace_create", { seed_path: directory });
  const id = record.workspace_id;
  const { words, guest } = await call("workspace_exec", { workspace_id: id, command: "python3 sum.py" });
  must(guest?.trim() === "45", `workspace_exec said ${JSON.stringify({ words, guest })}`);
  await call("workspace_delete", { workspace_id: id });
  await client.close();
  return `MCP: ${tools.length} tools; a workspace was made, ran a command and was deleted`;
}
