// Any model and any framework with function calling: `createTools` gives names, descriptions, JSON Schemas and `call`. Here
// without a package beside pyro, against an endpoint that speaks the chat completions API.
import { createTools } from "pyro-mcp";

const { OPENAI_API_KEY: key, OPENAI_MODEL: model = "gpt-5.1", PYRO_STATE_DIR: stateDir } = process.env;
const { OPENAI_BASE_URL: url = "https://api.openai.com/v1" } = process.env;
const [task = "Which kernel does a fresh debian:12 machine run?"] = process.argv.slice(2);
const ROUNDS = 20;

const tools = await createTools({ profile: "vm-run", stateDir });
const offered = tools.tools.map(({ name, description, inputSchema: parameters }) => ({
  type: "function",
  function: { name, description, parameters },
}));
const messages = [
  { role: "system", content: tools.instructions },
  { role: "user", content: task },
];

async function ask() {
  const response = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, messages, tools: offered }),
  });
  if (!response.ok) throw new Error(`${url} answers with ${response.status}: ${await response.text()}`);
  const { choices } = await response.json();
  return choices[0].message;
}

try {
  for (let round = 1; ; round++) {
    if (round > ROUNDS) throw new Error(`the model still calls tools after ${ROUNDS} requests`);
    const message = await ask();
    messages.push(message);
    if (!message.tool_calls?.length) {
      console.log(message.content);
      break;
    }
    for (const { id, function: called } of message.tool_calls) {
      // Never rejects: wrong names and arguments are answers too, which say what would be right.
      const { text } = await tools.call(called.name, called.arguments);
      messages.push({ role: "tool", tool_call_id: id, content: text });
    }
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await tools[Symbol.asyncDispose]();
}
