// Anthropic's SDK: its tool runner, with one command in one fresh virtual machine at a time.
//   npm install pyro-mcp @anthropic-ai/sdk && ANTHROPIC_API_KEY=… node anthropic-tool-runner.mjs
import Anthropic from "@anthropic-ai/sdk";
import { createTools } from "pyro-mcp";
import { runnableTools } from "pyro-mcp/anthropic";

const pyro = await createTools({ profile: "vm-run", stateDir: process.env.PYRO_STATE_DIR });
try {
  const runner = new Anthropic({ maxRetries: 0 }).beta.messages.toolRunner({
    model: "claude-opus-4-8",
    max_tokens: 4096,
    stream: true,
    // The whole conversation in each request: also for endpoints that keep none.
    thread: false,
    max_iterations: 20,
    system: pyro.instructions,
    tools: runnableTools(pyro.tools),
    messages: [{ role: "user", content: "Which version of Python does debian:12 have? Run it to see." }],
  });
  const { content } = await runner.runUntilDone();
  for (const block of content) if (block.type === "text") console.log(block.text);
} finally {
  await pyro[Symbol.asyncDispose]();
}
