// OpenAI's Agents SDK with the tools of a profile as functions: here vm_run alone. npm install pyro-mcp @openai/agents zod
import { Agent, run } from "@openai/agents";
import { createTools } from "pyro-mcp";
import { agentTools } from "pyro-mcp/openai-agents";

const { OPENAI_MODEL: model = "gpt-5.1", PYRO_STATE_DIR: stateDir } = process.env;
const [task = "Which kernel does a fresh debian:12 machine run?"] = process.argv.slice(2);

const tools = await createTools({ profile: "vm-run", stateDir });
try {
  const agent = new Agent({
    name: "runner",
    model,
    instructions: tools.instructions,
    tools: agentTools(tools),
  });
  const { finalOutput } = await run(agent, task, { maxTurns: 20 });
  console.log(finalOutput);
} catch (error) {
  console.error([error.code ?? error.status, error.message].filter(Boolean).join("\n"));
  process.exitCode = 1;
} finally {
  await tools[Symbol.asyncDispose]();
}
