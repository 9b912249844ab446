// Vercel AI SDK: a model that may run one command in one fresh virtual machine at a time.
//   npm install pyro-mcp ai @ai-sdk/openai && OPENAI_API_KEY=… node ai-sdk.mjs
import { openai } from "@ai-sdk/openai";
import { stepCountIs, streamText } from "ai";
import { createTools } from "pyro-mcp";
import { aiTools } from "pyro-mcp/ai";

const pyro = await createTools({ profile: "vm-run", stateDir: process.env.PYRO_STATE_DIR });
try {
  const { fullStream } = streamText({
    model: openai("gpt-5.2"),
    system: pyro.instructions,
    tools: aiTools(pyro.tools),
    stopWhen: stepCountIs(20),
    prompt: "Which version of Python does debian:12 have? Run it to see.",
    // Thrown below.
    onError: () => {},
  });
  for await (const part of fullStream) {
    if (part.type === "text-delta") process.stdout.write(part.text);
    if (part.type === "error") throw part.error;
  }
  process.stdout.write("\n");
} finally {
  await pyro[Symbol.asyncDispose]();
}
