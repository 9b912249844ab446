// OpenAI's Responses API with one tool: vm_run, a command in a fresh machine for each call. npm install pyro-mcp openai
// OPENAI_API_KEY is the key; OPENAI_BASE_URL and OPENAI_MODEL name another endpoint and model.
import OpenAI from "openai";
import { createTools } from "pyro-mcp";
import { functionTools, runResponses } from "pyro-mcp/openai";

const { OPENAI_MODEL: model = "gpt-5.1", PYRO_STATE_DIR: stateDir } = process.env;
const [task = "Which kernel does a fresh debian:12 machine run?"] = process.argv.slice(2);

const tools = await createTools({ profile: "vm-run", stateDir });
try {
  const { text, rounds } = await runResponses({
    client: new OpenAI(),
    tools: [functionTools(tools)],
    request: { model, instructions: tools.instructions, input: task },
    maxRounds: 20,
  });
  console.log(`${text}\n[${rounds} requests]`);
} catch (error) {
  console.error([error.code, error.message, error.hint].filter(Boolean).join("\n"));
  process.exitCode = 1;
} finally {
  await tools[Symbol.asyncDispose]();
}
