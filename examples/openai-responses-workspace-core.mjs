// OpenAI's Responses API with the tools of workspace-core: the model explores, edits, tests and compares in a workspace
// that this program makes and removes. npm install pyro-mcp openai
import OpenAI from "openai";
import { createTools, Pyro } from "pyro-mcp";
import { functionTools, runResponses } from "pyro-mcp/openai";

const { OPENAI_MODEL: model = "gpt-5.1", PYRO_STATE_DIR: stateDir } = process.env;
const [task = "Write a program that prints the first ten primes, and run it."] = process.argv.slice(2);

const pyro = new Pyro({ stateDir });
const tools = await createTools({ profile: "workspace-core", stateDir });
try {
  // With `source: { kind: "project", path }` it begins with a Git checkout.
  const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
  try {
    const { text } = await runResponses({
      client: new OpenAI(),
      tools: [functionTools(tools)],
      request: {
        model,
        instructions: tools.instructions,
        input: `${task}\nWork in the workspace ${workspaceId}.`,
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
  await tools[Symbol.asyncDispose]();
  await pyro[Symbol.asyncDispose]();
}
