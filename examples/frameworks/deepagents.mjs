// Deep Agents: a workspace as the agent's backend, for its files and its commands.
//   npm install pyro-mcp deepagents langchain @langchain/core @langchain/anthropic && ANTHROPIC_API_KEY=… node deepagents.mjs
import { ChatAnthropic } from "@langchain/anthropic";
import { createDeepAgent } from "deepagents";
import { Pyro } from "pyro-mcp";
import { sandboxBackend } from "pyro-mcp/deepagents";

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
try {
  const agent = createDeepAgent({
    model: new ChatAnthropic({ model: "claude-opus-4-8", streaming: true, maxRetries: 0 }),
    backend: sandboxBackend(pyro, workspaceId),
    systemPrompt: "Your files lie in /workspace.",
  });
  const task = "Write a Python program that prints the primes below 100 to /workspace/primes.py, and run it.";
  const { messages } = await agent.invoke({ messages: [{ role: "user", content: task }] });
  console.log(messages.at(-1).text);
} finally {
  await pyro.deleteWorkspace(workspaceId);
  await pyro[Symbol.asyncDispose]();
}
