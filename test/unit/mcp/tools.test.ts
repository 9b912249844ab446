import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createTools, type PyroTools } from "../../../src/mcp/index.js";
import { startFakeDaemon, type FakeScript } from "../../fakes/fake-daemon.js";
import { mcpSession } from "../../fakes/mcp-client.js";
import { slowRun } from "../../fakes/slow-run.js";
import { temporaryState } from "../../fakes/state-directory.js";

function first<T>([item]: readonly T[]): T {
  if (item === undefined) throw new Error("none");
  return item;
}

/** The tools of the narrowest profile over a fake daemon, for one test. */
async function withTools(script: FakeScript | undefined, body: (tools: PyroTools) => Promise<void>) {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path, script);
  await using tools = await createTools({ stateDir: state.path, profile: "vm-run" });
  await body(tools);
}

test.each(["vm-run", "workspace-core", "workspace-full"] as const)(
  "%s: names, texts, schemas and hints are those of the MCP server, and nothing is started",
  async (profile) => {
    await using state = await temporaryState();
    const options = { stateDir: state.path, profile };
    await using tools = await createTools(options);
    await using session = await mcpSession(options);
    const { tools: listed } = await session.client.listTools();
    expect(
      tools.tools.map(({ call: _, inputSchema: { $schema: __, ...inputSchema }, ...tool }) => ({
        ...tool,
        inputSchema,
      })),
    ).toEqual(
      listed.map(
        ({ name, title, description, annotations, inputSchema: { $schema: _, ...inputSchema } }) => ({
          ...{ name, title, description, annotations, inputSchema },
        }),
      ),
    );
    expect(tools.instructions).toBe(session.client.getInstructions());
    expect(existsSync(join(state.path, "daemon.lock"))).toBe(false);
  },
);

test("an answer has the text for the model, its parts and the fields", async () => {
  await withTools(undefined, async ({ tools }) => {
    const answer = await first(tools).call({ argv: ["both"] });
    expect(answer).toMatchObject({ isError: false, fields: { exit_code: 3, stdout: "out\n" } });
    expect(answer.parts).toHaveLength(2);
    expect(answer.parts[1]).toBe("out\nerr\n");
    expect(answer.text).toBe(answer.parts.join("\n"));
  });
});

test("arguments may be the JSON that a model wrote", async () => {
  await withTools(undefined, async ({ call }) => {
    expect(await call("vm_run", '{"argv":["exit","0"]}')).toMatchObject({ fields: { exit_code: 0 } });
  });
});

test.each([
  ["a tool that does not exist", "vm_jump", {}, 'there is no tool "vm_jump"\nhint: the tools are vm_run'],
  ["text that is no JSON", "vm_run", '{"argv":', "the arguments are no JSON"],
  ["arguments of another type", "vm_run", "[1]", "INVALID_ARGUMENT"],
  ["no arguments", "vm_run", "", "COMMAND_REQUIRED"],
  ["a field that does not exist", "vm_run", { argv: ["true"], shell: true }, "shell"],
])("%s is an answer that says what would be right", async (_, name, args, words) => {
  await withTools(undefined, async ({ call }) => {
    const answer = await call(name, args);
    expect(answer.isError).toBe(true);
    expect(answer.text).toContain(words);
    expect(answer.fields).toMatchObject({ error: { code: answer.text.split(":")[0] } });
  });
});

test("a signal cancels the call and what it started, and progress is told", async () => {
  const slow = slowRun(1_000);
  await withTools(slow.script, async ({ call }) => {
    const cancel = new AbortController();
    const said: string[] = [];
    const answer = call(
      "vm_run",
      { argv: ["sleep"] },
      {
        signal: cancel.signal,
        onProgress: (message) => {
          said.push(message);
          cancel.abort();
        },
      },
    );
    expect((await answer).isError).toBe(true);
    expect(said).not.toEqual([]);
    expect(slow.cancelled).toHaveLength(1);
  });
});
