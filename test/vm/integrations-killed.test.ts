/** Programs of frameworks that are killed in the middle of a command: what the daemon does with what they had. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { anthropicMessages } from "../chat-hosts/anthropic-messages.js";
import type { ModelApi } from "../chat-hosts/model-api.js";
import { openaiResponses } from "../chat-hosts/openai-responses.js";
import { scriptedModel, type Conversation } from "../chat-hosts/scripted-model.js";
import { installFrameworks, runExample } from "../integrations/frameworks.js";
import { violations } from "./invariants.js";
import { aRunHasWritten, unfinishedRuns } from "./started-runs.js";
import { eventually, json, machinesOf, pyro, testState, type TestState } from "./support.js";

/** An example of docs/integrations.md: a part of its prompt, and the tool by which its model calls a command. */
type Example = readonly [name: string, api: ModelApi, prompt: string, tool: string];

const IN_A_VM: readonly Example[] = [
  ["ai-sdk", openaiResponses, "Which version of Python", "vm_run"],
  ["anthropic-tool-runner", anthropicMessages, "Which version of Python", "vm_run"],
];
const IN_A_WORKSPACE: readonly Example[] = [
  ["ai-sdk-sandbox", openaiResponses, "add.py is wrong", "shell"],
  ["langchain", anthropicMessages, "write the primes below 100", "workspace_exec"],
  ["deepagents", anthropicMessages, "prints the primes below 100", "execute"],
  ["mastra", openaiResponses, "does this machine have", "mastra_workspace_execute_command"],
  ["claude-agent-sdk", anthropicMessages, "write the primes below 100", "workspace_exec"],
];

const COMMAND = "echo begun; sleep 4; echo whole | tee done.txt";

let state: TestState;
let missing: string | undefined;
beforeAll(async () => {
  state = await testState();
  missing = await installFrameworks();
});
beforeEach(({ skip }) => {
  if (missing !== undefined) skip(missing);
});
afterAll(() => state[Symbol.asyncDispose]());

/** What a tool wants besides the command. */
function besides(tool: string, { opening }: Conversation): Readonly<Record<string, string>> {
  if (tool === "vm_run") return { environment: "debian:12" };
  if (tool !== "workspace_exec") return {};
  return { workspace_id: /workspace ([0-9a-z-]+),/.exec(opening.instructions)?.[1] ?? "" };
}

/** Runs an example whose model calls the command, and kills it once that is in the middle. */
async function kill(
  [name, api, prompt, tool]: Example,
  isInTheMiddle: () => Promise<boolean>,
): Promise<void> {
  await using model = await scriptedModel({
    ...{ api, prompt },
    script: async (conversation) => {
      const { blocks } = await conversation.call(tool, { ...besides(tool, conversation), command: COMMAND });
      return blocks.join("\n");
    },
  });
  const middle = eventually("its command is in the middle", isInTheMiddle);
  const { code, stdout } = await runExample(name, state.path, model.url, middle);
  expect({ code, stdout }).toEqual({ code: null, stdout: "" });
  expect(await machinesOf(state.path)).toHaveLength(1);
}

const ask = (...words: string[]) => pyro([...words, "--json"], { stateDir: state.path });

async function workspaceIds(): Promise<string[]> {
  const { workspaces } = json(await ask("workspace", "list"));
  return (workspaces as { workspace_id: string }[]).map(({ workspace_id }) => workspace_id);
}

/** The first command of the only workspace, with what it wrote; undefined where there is none. */
async function firstCommand(): Promise<Readonly<Record<string, unknown>> | undefined> {
  const [id] = await workspaceIds();
  if (id === undefined) return undefined;
  const { entries } = json(await ask("workspace", "logs", id, "--sequence", "1"));
  return (entries as Readonly<Record<string, unknown>>[] | undefined)?.[0];
}

async function expectNothingLeft(): Promise<void> {
  await eventually("no machine", async () => (await machinesOf(state.path)).length === 0);
  // One that has something to do does not leave.
  expect((await pyro(["daemon", "stop"], { stateDir: state.path })).code).toBe(0);
  expect(await unfinishedRuns(state.path)).toEqual([]);
  expect(await violations(state.path)).toEqual([]);
}

it.each(IN_A_VM)("%s: its machine ends with the command", async (...example) => {
  await kill(example, () => aRunHasWritten(state.path));
  await expectNothingLeft();
});

it.each(IN_A_WORKSPACE)(
  "%s: its workspace stays, with what the command went on to do, until its time is over or somebody deletes it",
  async (...example) => {
    await kill(example, async () => (await firstCommand())?.["stdout"] === "begun\n");
    await eventually("the command has ended", async () => (await firstCommand())?.["state"] === "done");
    expect(await firstCommand()).toMatchObject({ exit_code: 0, stdout: "begun\nwhole\n" });
    const [id = "", ...others] = await workspaceIds();
    expect(others).toEqual([]);
    expect(json(await ask("workspace", "file", "read", id, "done.txt"))).toMatchObject({
      content: "whole\n",
    });
    const { expires_at, last_activity_at, running_command_count } = json(
      await ask("workspace", "status", id),
    );
    const keptMs = Date.parse(String(expires_at)) - Date.parse(String(last_activity_at));
    expect({ keptMs, running_command_count }).toEqual({ keptMs: 600_000, running_command_count: 0 });
    expect((await ask("workspace", "delete", id)).code).toBe(0);
    await expectNothingLeft();
  },
);
