// OpenAI's Agents SDK: an agent whose sandbox is a virtual machine. npm install pyro-mcp @openai/agents zod
// OPENAI_API_KEY is the key; OPENAI_BASE_URL and OPENAI_MODEL name another endpoint and model.
import { run } from "@openai/agents";
import { SandboxAgent } from "@openai/agents/sandbox";
import { Pyro } from "pyro-mcp";
import { PyroSandboxClient } from "pyro-mcp/openai-agents";

const { OPENAI_MODEL: model = "gpt-5.1", PYRO_STATE_DIR: stateDir } = process.env;
const [task = "Mend app.py, and show that it works."] = process.argv.slice(2);

const pyro = new Pyro({ stateDir });
try {
  const agent = new SandboxAgent({
    name: "engineer",
    model,
    instructions: "You work in /workspace of a Debian machine of your own.",
    defaultManifest: {
      entries: { "app.py": { type: "file", content: "print(2 - 3)  # the sum of both\n" } },
    },
  });
  // Its workspace is made for this run, and deleted with it. `environment`, `source`, `network` and the like:
  const client = new PyroSandboxClient(pyro, { environment: "debian:12", ttlSeconds: 600 });
  const { finalOutput } = await run(agent, task, { sandbox: { client }, maxTurns: 20 });
  console.log(finalOutput);
} catch (error) {
  console.error([error.code ?? error.status, error.message, error.hint].filter(Boolean).join("\n"));
  process.exitCode = 1;
} finally {
  await pyro[Symbol.asyncDispose]();
}
