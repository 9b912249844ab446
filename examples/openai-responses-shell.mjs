// The Responses API's own tools `shell` and `apply_patch`, over one workspace. npm install pyro-mcp openai
import OpenAI from "openai";
import { Pyro } from "pyro-mcp";
import { runResponses, workspaceTools } from "pyro-mcp/openai";

const { OPENAI_MODEL: model = "gpt-5.1", PYRO_STATE_DIR: stateDir } = process.env;
const [task = "Write a program that prints the first ten primes, and run it."] = process.argv.slice(2);

const pyro = new Pyro({ stateDir });
try {
  const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
  try {
    const { text } = await runResponses({
      client: new OpenAI(),
      tools: [workspaceTools(pyro, workspaceId)],
      request: {
        model,
        instructions: "You work in /workspace of a Debian machine of your own.",
        input: task,
      },
    });
    console.log(text);
    process.stdout.write((await pyro.diffWorkspace({ workspaceId })).patch);
  } finally {
    await pyro.deleteWorkspace(workspaceId);
  }
} catch (error) {
  console.error([error.code, error.message, error.hint].filter(Boolean).join("\n"));
  process.exitCode = 1;
} finally {
  await pyro[Symbol.asyncDispose]();
}
