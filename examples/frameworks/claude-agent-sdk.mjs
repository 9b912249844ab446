// Claude Agent SDK: pyro's MCP server in this process, and none of Claude Code's own tools.
//   npm install pyro-mcp @anthropic-ai/claude-agent-sdk && ANTHROPIC_API_KEY=… node claude-agent-sdk.mjs
import { query } from "@anthropic-ai/claude-agent-sdk";
import { Pyro } from "pyro-mcp";
import { mcpServer } from "pyro-mcp/claude-agent-sdk";

const stateDir = process.env.PYRO_STATE_DIR;
const pyro = new Pyro({ stateDir });
const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
try {
  const conversation = query({
    prompt: `In the workspace ${workspaceId}, write the primes below 100 to primes.txt, and count them.`,
    options: {
      mcpServers: { pyro: mcpServer({ profile: "workspace-core", stateDir }) },
      allowedTools: ["mcp__pyro"],
      tools: [],
      settingSources: [],
      // Left out: the Claude Code that the SDK brings along.
      pathToClaudeCodeExecutable: process.env.CLAUDE_CODE,
    },
  });
  for await (const message of conversation) {
    if (message.type !== "result") continue;
    if (message.is_error) throw new Error(message.result ?? message.errors?.join("\n") ?? message.subtype);
    console.log(message.result);
  }
} finally {
  await pyro.deleteWorkspace(workspaceId);
  await pyro[Symbol.asyncDispose]();
}
