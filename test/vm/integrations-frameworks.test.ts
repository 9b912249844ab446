/** The examples of docs/integrations.md, each with a scripted model and a real VM, and what goes wrong with them. */
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { anthropicMessages } from "../chat-hosts/anthropic-messages.js";
import type { ModelApi } from "../chat-hosts/model-api.js";
import { openaiResponses } from "../chat-hosts/openai-responses.js";
import { scriptedModel, type Conversation } from "../chat-hosts/scripted-model.js";
import { BAD_ENDPOINTS, badEndpoint } from "../integrations/bad-endpoints.js";
import { compileTypes, installFrameworks, runExample } from "../integrations/frameworks.js";
import { installPython, runPythonExample } from "../integrations/python.js";
import { json, machinesOf, pyro, testState, type TestState } from "./support.js";

const PRIMES = "python3 -c 'print([n for n in range(2,100) if all(n%d for d in range(2,n))])'";

/** What a model does with an example's tools; gives what it says last. */
type Deeds = (model: Conversation) => Promise<string>;

interface Example {
  readonly name: string;
  readonly api: ModelApi;
  /** In its prompt. */
  readonly prompt: string;
  readonly deeds: Deeds;
}

const textOf = async (shown: ReturnType<Conversation["call"]>): Promise<string> =>
  (await shown).blocks.join("\n");

/** With vm_run: what is wrong is told with what would be right, and the next call does it. */
const runsInVms: Deeds = async (model) => {
  expect(await textOf(model.callUnknown("vm_walk"))).toMatch(/vm_walk/);
  expect(await textOf(model.call("vm_run", { environment: "debian:12", comand: "true" }))).toMatch(/comand/);
  const args = { environment: "debian:12", command: "python3 --version; uname -r; exit 3" };
  expect(await textOf(model.call("vm_run", args))).toMatch(/exit 3[^]*Python 3\.11[^]*cloud-amd64/);
  return "It is Python 3.11.";
};

const idIn = (model: Conversation): string =>
  /workspace ([0-9a-z-]+),/.exec(model.opening.instructions)?.[1] ?? "";

/** With the tools of a workspace that the program made. */
const worksInWorkspace: Deeds = async (model) => {
  const workspace_id = idIn(model);
  const exec = (command: string) => textOf(model.call("workspace_exec", { workspace_id, command }));
  expect(await textOf(model.callUnknown("workspace_walk"))).toMatch(/workspace_walk/);
  expect(await textOf(model.call("workspace_exec", { workspace_id: "none", command: "true" }))).toMatch(
    /none/,
  );
  expect(await exec(`${PRIMES} > primes.txt; uname -r`)).toMatch(/cloud-amd64/);
  expect(await exec("tr , '\\n' < primes.txt | wc -l")).toMatch(/25/);
  return "There are 25.";
};

const EXAMPLES: readonly Example[] = [
  {
    ...{ name: "ai-sdk", api: openaiResponses, prompt: "Which version of Python", deeds: runsInVms },
  },
  {
    ...{ name: "ai-sdk-sandbox", api: openaiResponses, prompt: "add.py is wrong" },
    deeds: async (model) => {
      expect(await textOf(model.callUnknown("shall"))).toMatch(/shall/);
      expect(await textOf(model.call("shell", { line: "true" }))).toMatch(/command/);
      const command = "sed -i s/-/+/ add.py && python3 -c 'import add; print(add.add(40, 2))'; uname -r";
      expect(await textOf(model.call("shell", { command }))).toMatch(/42[^]*cloud-amd64/);
      return "It adds now.";
    },
  },
  {
    ...{
      name: "langchain",
      api: anthropicMessages,
      prompt: "write the primes below 100",
      deeds: worksInWorkspace,
    },
  },
  {
    ...{ name: "deepagents", api: anthropicMessages, prompt: "prints the primes below 100" },
    deeds: async (model) => {
      const file_path = "/workspace/primes.py";
      const content = "for n in range(2, 100):\n    if all(n % d for d in range(2, n)): print(n)\n";
      expect(await textOf(model.callUnknown("walk"))).toMatch(/walk/);
      expect(await textOf(model.call("execute", { line: "true" }))).toMatch(/command/);
      await model.call("write_file", { file_path, content });
      expect(await textOf(model.call("read_file", { file_path }))).toMatch(/all\(n % d/);
      await model.call("edit_file", { file_path, old_string: "print(n)", new_string: "print(n, end=' ')" });
      expect(await textOf(model.call("ls", { path: "/workspace" }))).toMatch(/primes\.py/);
      expect(await textOf(model.call("grep", { pattern: "range", path: "/workspace" }))).toMatch(
        /primes\.py/,
      );
      expect(await textOf(model.call("execute", { command: "python3 primes.py; uname -r" }))).toMatch(
        /89 97[^]*cloud-amd64/,
      );
      return "It prints them.";
    },
  },
  {
    ...{ name: "mastra", api: openaiResponses, prompt: "does this machine have" },
    deeds: async (model) => {
      const tool = "mastra_workspace_execute_command";
      expect(await textOf(model.callUnknown("walk"))).toMatch(/walk/);
      expect(await textOf(model.call(tool, { line: "true" }))).toMatch(/command/);
      expect(await textOf(model.call(tool, { command: "python3 --version; uname -r; exit 3" }))).toMatch(
        /Python 3\.11[^]*cloud-amd64[^]*3/,
      );
      return "It is Python 3.11.";
    },
  },
  {
    ...{ name: "claude-agent-sdk", api: anthropicMessages, prompt: "write the primes below 100" },
    deeds: worksInWorkspace,
  },
  {
    ...{
      name: "anthropic-tool-runner",
      api: anthropicMessages,
      prompt: "Which version of Python",
      deeds: runsInVms,
    },
  },
];

let state: TestState;
let missing: string | undefined;
let python: Awaited<ReturnType<typeof installPython>>;
beforeAll(async () => {
  state = await testState();
  [missing, python] = await Promise.all([installFrameworks(), installPython()]);
});
beforeEach(({ skip }) => {
  if (missing !== undefined) skip(missing);
});
afterAll(() => state[Symbol.asyncDispose]());

async function leavesNothing(): Promise<void> {
  const { workspaces } = json(await pyro(["workspace", "list", "--json"], { stateDir: state.path }));
  expect(workspaces).toEqual([]);
  expect(await machinesOf(state.path)).toEqual([]);
}

it.for(EXAMPLES.map((example) => [example.name, example] as const))(
  "%s: runs in a VM, tells the model what was wrong with a call, and leaves nothing",
  async ([, { name, api, prompt, deeds }]) => {
    let last = "";
    await using model = await scriptedModel({
      ...{ api, prompt },
      script: async (conversation) => (last = await deeds(conversation)),
    });
    const { code, stdout, stderr } = await runExample(name, state.path, model.url);
    await model.finished(`${stdout}\n${stderr}`.slice(-4_000));
    expect(stderr).toBe("");
    expect(stdout).toContain(last);
    expect(code).toBe(0);
    await leavesNothing();
  },
);

it.for(
  EXAMPLES.flatMap(({ name }) =>
    Object.entries(BAD_ENDPOINTS).map(([how, what]) => [name, how, what] as const),
  ),
)("%s: an endpoint that %s is a clear error, and nothing is left", async ([name, , { answer, says }]) => {
  await using endpoint = await badEndpoint(answer);
  const { code, stdout, stderr } = await runExample(name, state.path, endpoint.url);
  expect(stdout + stderr).toMatch(says);
  expect(code).toBe(1);
  await leavesNothing();
});

it("is typed as the frameworks take it", async () => {
  expect(await compileTypes()).toEqual({ code: 0, stdout: "", stderr: "" });
});

it("pydantic_ai_mcp.py: runs in a VM over MCP, and leaves nothing", async ({ skip }) => {
  if ("missing" in python) return skip(python.missing);
  await using model = await scriptedModel({
    ...{ api: anthropicMessages, prompt: "Which version of Python", script: runsInVms },
  });
  const { code, stdout, stderr } = await runPythonExample(python.program, state.path, model.url);
  await model.finished(`${stdout}\n${stderr}`.slice(-4_000));
  expect(stdout).toContain("It is Python 3.11.");
  expect(code).toBe(0);
  await leavesNothing();
});
