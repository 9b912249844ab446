/** The examples, as a user starts them: against real machines, and a model on this host that does what a script says. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { fakeChatApi } from "../fakes/fake-chat-api.js";
import {
  call,
  fakeResponsesApi,
  patch,
  say,
  shell,
  type Item,
  type Turn,
} from "../fakes/fake-responses-api.js";
import { json, machinesOf, pyro, testState, type TestState } from "./support.js";

const EXAMPLES = join(import.meta.dirname, "../../examples");

let state: TestState;
beforeAll(async () => {
  state = await testState();
});
afterAll(async () => {
  await state[Symbol.asyncDispose]();
});
// Each example leaves nothing, also where it failed.
afterEach(async () => {
  const { workspaces } = json(await pyro(["workspace", "list", "--json"], { stateDir: state.path }));
  expect({ workspaces, machines: await machinesOf(state.path) }).toEqual({ workspaces: [], machines: [] });
});

async function example(name: string, env: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, [join(EXAMPLES, `${name}.mjs`)], {
    env: { ...process.env, PYRO_POOL: "0", PYRO_STATE_DIR: state.path, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data: Buffer) => (stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}

/** An example whose model takes the turns; it also gives what the model was told. */
async function withModel(name: string, turns: readonly Turn[]) {
  await using api = await fakeResponsesApi(turns);
  // The Agents SDK would tell OpenAI of each run.
  const env = { OPENAI_API_KEY: api.key, OPENAI_BASE_URL: api.url, OPENAI_AGENTS_DISABLE_TRACING: "1" };
  const ended = await example(name, env);
  return { ...ended, asked: api.asked };
}

const outputsOf = (answers: readonly Item[] | undefined): string[] =>
  (answers ?? []).map(({ output }) => String(output));

describe("An example with the SDK alone", () => {
  it("runs commands in fresh machines", async () => {
    const { code, stdout, stderr } = await example("run");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^exit 0, isolation (kvm|software): \d+\.\d+\S+\npiped\n$/);
  });

  it("walks through the life of one machine", async () => {
    const { code, stdout, stderr } = await example("lifecycle");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^state started, isolation \w+\nexit 0: git version \S+\n0 VMs left\n$/);
  });

  it("mends a project in a workspace", async () => {
    const { code, stdout, stderr } = await example("workspace");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("the test ends with 1\nthe test ends with 0\n");
    expect(stdout).toContain("-    return a - b\n+    return a + b\n");
    expect(stdout).toContain("changed after the reset: false\n");
  });

  it("types into a shell", async () => {
    const { code, stdout, stderr } = await example("shell");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/hello from \/etc\n/);
  });

  it("starts a service, and asks it", async () => {
    const { code, stdout, stderr } = await example("services");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^the service is running\nb'<h1>hello<\/h1>\\n'\n.*"GET \/ HTTP\/1\.1" 200 -\nthe service is stopped\n$/,
    );
  });

  it("takes a snapshot, goes back to it, and reads a stopped machine's disk", async () => {
    const { code, stdout, stderr } = await example("disk");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe("snapshots: baseline, noted\non the disk of a stopped machine: precious\n");
  });
});

describe("An example with a model", () => {
  it("offers vm_run to the Responses API", async () => {
    const { code, stdout, stderr, asked } = await withModel("openai-responses-vm-run", [
      () => [call("vm_run", { argv: ["uname", "-s"] }), call("vm_ran", {})],
      ({ answers }) => [
        say(`It says ${outputsOf(answers)[0]?.includes("Linux") === true ? "Linux" : "nothing"}.`),
      ],
    ]);
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: "It says Linux.\n[2 requests]\n",
      stderr: "",
    });
    expect(outputsOf(asked[1]?.answers)[1]).toContain('there is no tool "vm_ran"');
  });

  it("lets the Responses API work with the tools of workspace-core", async () => {
    let id = "";
    const { code, stdout, stderr, asked } = await withModel("openai-responses-workspace-core", [
      ({ body }) => {
        id = /ws-\w+/.exec(JSON.stringify(body["input"]))?.[0] ?? "";
        return [call("workspace_file_write", { workspace_id: id, path: "p.py", text: "print(2, 3, 5)\n" })];
      },
      () => [call("workspace_exec", { workspace_id: id, argv: ["python3", "p.py"] })],
      () => [call("workspace_exec", { workspace_id: id })],
      () => [say("p.py prints them.")],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(outputsOf(asked[2]?.answers)[0]).toMatch(/^exit 0[^]*2 3 5/);
    expect(outputsOf(asked[3]?.answers)[0]).toContain("INVALID_ARGUMENT");
    expect(stdout).toMatch(/^p\.py prints them\.\n[^]*\+print\(2, 3, 5\)\n$/);
  });

  it("answers the Responses API's own shell and apply_patch", async () => {
    const { code, stdout, stderr, asked } = await withModel("openai-responses-shell", [
      () => [patch({ type: "create_file", path: "p.py", diff: "+print(2, 3)\n" })],
      () => [patch({ type: "update_file", path: "p.py", diff: "@@\n-print(2, 3)\n+print(2, 3, 5)\n" })],
      () => [shell("python3 p.py", "exit 4")],
      () => [say("p.py prints them.")],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(asked[3]?.answers[0]?.["output"]).toEqual([
      { stdout: "2 3 5\n", stderr: "", outcome: { type: "exit", exit_code: 0 } },
      { stdout: "", stderr: "", outcome: { type: "exit", exit_code: 4 } },
    ]);
    expect(stdout).toContain("+print(2, 3, 5)\n");
  });

  it("is the sandbox of an agent", async () => {
    const mend = "@@\n-print(2 - 3)  # the sum of both\n+print(2 + 3)\n";
    const { code, stdout, stderr, asked } = await withModel("openai-agents", [
      () => [call("exec_command", { cmd: "python3 app.py; sleep 300", yield_time_ms: 1500 })],
      () => [call("write_stdin", { session_id: 1, chars: "\u0003", yield_time_ms: 20_000 })],
      () => [patch({ type: "update_file", path: "app.py", diff: mend })],
      () => [call("exec_command", { cmd: "python3 app.py; exit 3", yield_time_ms: 30_000 })],
      () => [call("exec_command", { cmd: "read word; echo got $word", tty: true, yield_time_ms: 1000 })],
      () => [call("write_stdin", { session_id: 2, chars: "hello\r", yield_time_ms: 3000 })],
      // Until its end was told.
      ({ answers }) =>
        outputsOf(answers)[0]?.includes("Process running") === true
          ? [call("write_stdin", { session_id: 2, yield_time_ms: 1000 })]
          : [say("It prints 5.")],
    ]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "It prints 5.\n", stderr: "" });
    const [yielded, ended, patched, run, ...terminal] = asked
      .slice(1)
      .flatMap(({ answers }) => outputsOf(answers));
    expect(yielded).toContain("Process running with session ID 1");
    expect(ended).toMatch(/Process exited with code \d+/);
    expect(patched).toBe("app.py: updated");
    expect(run).toMatch(/Process exited with code 3\nOutput:\n5\n$/);
    expect(terminal[0]).toContain("Process running with session ID 2");
    expect(terminal.join("\n")).toContain("got hello");
    expect(terminal.at(-1)).toContain("Process exited with code 0");
  });

  it("offers vm_run to an agent", async () => {
    const { code, stdout, stderr, asked } = await withModel("openai-agents-tools", [
      () => [call("vm_run", { argv: ["uname", "-s"] }), call("vm_run", { argv: 7 })],
      () => [say("It is Linux.")],
    ]);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "It is Linux.\n", stderr: "" });
    const [right, wrong] = outputsOf(asked[1]?.answers);
    expect(right).toContain("Linux");
    expect(wrong).toContain("INVALID_ARGUMENT");
  });

  it("needs no package for a loop of its own", async () => {
    const called = { name: "vm_run", arguments: '{"argv":["uname","-s"]}' };
    await using api = await fakeChatApi([
      { content: null, tool_calls: [{ id: "c1", type: "function", function: called }] },
      { content: "It is Linux." },
    ]);
    const { code, stdout, stderr } = await example("plain-tools", { OPENAI_BASE_URL: api.url });
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "It is Linux.\n", stderr: "" });
    expect(api.asked[1]?.messages.at(-1)).toMatchObject({ role: "tool", tool_call_id: "c1" });
    expect(String(api.asked[1]?.messages.at(-1)?.["content"])).toContain("Linux");
  });
});

describe("An example in trouble says what it is, and leaves nothing", () => {
  it("with a wrong key", async () => {
    await using api = await fakeResponsesApi([() => [say("hello")]]);
    const env = { OPENAI_API_KEY: "sk-wrong", OPENAI_BASE_URL: api.url };
    const { code, stderr } = await example("openai-responses-workspace-core", env);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^MODEL_UNAUTHORIZED\n.* refuses the key: 401 Incorrect API key[^]*OPENAI_API_KEY/,
    );
    expect(stderr).not.toContain("sk-wrong");
  });

  it("with a model that calls a tool that the agent does not have, for which the Agents SDK ends the run", async () => {
    const { code, stderr } = await withModel("openai-agents", [() => [call("exec_comand", { cmd: "true" })]]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "Tool exec_comand not found in agent engineer.\n" });
  });

  it("with an endpoint that streams garbage after a tool was called", async () => {
    const turns: Turn[] = [
      () => [shell("echo begun; sleep 300 & echo still")],
      () => ({ raw: "data: {garbage\n\n" }),
    ];
    const { code, stderr } = await withModel("openai-responses-shell", turns);
    expect(code).toBe(1);
    expect(stderr).toContain("MODEL_ANSWER_INVALID");
  });
});
