// Mastra: a workspace as the sandbox of an agent's workspace; it is made when the agent first runs a command.
//   npm install pyro-mcp @mastra/core @ai-sdk/openai && OPENAI_API_KEY=… node mastra.mjs
import { openai } from "@ai-sdk/openai";
import { Agent } from "@mastra/core/agent";
import { Workspace } from "@mastra/core/workspace";
import { Pyro } from "pyro-mcp";
import { pyroSandbox } from "pyro-mcp/mastra";

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
const sandbox = pyroSandbox(pyro, { environment: "debian:12" });
try {
  const agent = new Agent({
    id: "tester",
    name: "tester",
    instructions: sandbox.getInstructions(),
    model: openai("gpt-5.2"),
    workspace: new Workspace({ sandbox }),
  });
  const stream = await agent.stream("Which version of Python does this machine have? Run it to see.", {
    maxSteps: 20,
  });
  for await (const text of stream.textStream) process.stdout.write(text);
  process.stdout.write("\n");
  if (stream.error !== undefined) throw stream.error;
} finally {
  await sandbox.destroy();
  await pyro[Symbol.asyncDispose]();
}
