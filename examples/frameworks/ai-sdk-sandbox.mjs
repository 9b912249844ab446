// Vercel AI SDK: a workspace as the sandbox that one's own tools run in.
//   npm install pyro-mcp ai @ai-sdk/openai zod && OPENAI_API_KEY=… node ai-sdk-sandbox.mjs
import { openai } from "@ai-sdk/openai";
import { stepCountIs, streamText, tool } from "ai";
import { Pyro } from "pyro-mcp";
import { sandboxSession } from "pyro-mcp/ai";
import { z } from "zod";

const shell = tool({
  description: "Runs a shell command in /workspace.",
  inputSchema: z.object({ command: z.string() }),
  execute: ({ command }, { experimental_sandbox: sandbox, abortSignal }) =>
    sandbox.run({ command, abortSignal }),
});

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
try {
  const sandbox = sandboxSession(pyro, workspaceId);
  await sandbox.writeTextFile({ path: "add.py", content: "def add(a, b):\n    return a - b\n" });
  const { fullStream } = streamText({
    model: openai("gpt-5.2"),
    system: sandbox.description,
    tools: { shell },
    experimental_sandbox: sandbox,
    stopWhen: stepCountIs(20),
    prompt: "add.py is wrong. Please mend it, and prove it by running it.",
    // Thrown below.
    onError: () => {},
  });
  for await (const part of fullStream) {
    if (part.type === "text-delta") process.stdout.write(part.text);
    if (part.type === "error") throw part.error;
  }
  process.stdout.write(`\n${await sandbox.readTextFile({ path: "add.py" })}`);
} finally {
  await pyro.deleteWorkspace(workspaceId);
  await pyro[Symbol.asyncDispose]();
}
