// LangChain: an agent that works in one workspace of its own.
//   npm install pyro-mcp langchain @langchain/core @langchain/anthropic && ANTHROPIC_API_KEY=… node langchain.mjs
import { ChatAnthropic } from "@langchain/anthropic";
import { createAgent } from "langchain";
import { createTools, Pyro } from "pyro-mcp";
import { langchainTools } from "pyro-mcp/langchain";

const stateDir = process.env.PYRO_STATE_DIR;
const pyro = new Pyro({ stateDir });
const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
const tools = await createTools({ profile: "workspace-core", stateDir });
try {
  const agent = createAgent({
    model: new ChatAnthropic({ model: "claude-opus-4-8", streaming: true, maxRetries: 0 }),
    tools: langchainTools(tools.tools),
    systemPrompt: tools.instructions,
  });
  const task = `In the workspace ${workspaceId}, write the primes below 100 to primes.txt, and count them.`;
  const { messages } = await agent.invoke({ messages: [{ role: "user", content: task }] });
  console.log(messages.at(-1).text);
} finally {
  await tools[Symbol.asyncDispose]();
  await pyro.deleteWorkspace(workspaceId);
  await pyro[Symbol.asyncDispose]();
}
