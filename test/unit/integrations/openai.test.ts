import { OpenAI } from "openai";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { functionTools, runResponses, workspaceTools } from "../../../src/integrations/openai.js";
import { createTools } from "../../../src/mcp/index.js";
import type { Pyro } from "../../../src/sdk/index.js";
import {
  call,
  fakeResponsesApi,
  patch,
  say,
  shell,
  type FakeResponsesApi,
  type Item,
  type Turn,
} from "../../fakes/fake-responses-api.js";
import { pyroOverFakes, type PyroOverFakes } from "../../fakes/pyro-over-fakes.js";

const clientOf = ({ url, key }: { url: string; key: string }): OpenAI =>
  new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
const REQUEST = { model: "scripted", input: "mend it" };

// Real workspaces over fake machines, and the client of OpenAI over real HTTP.
describe("the Responses API", () => {
  let fakes: PyroOverFakes;
  let served: PyroOverFakes["served"];
  let pyro: Pyro;
  beforeEach(async () => {
    fakes = await pyroOverFakes();
    ({ served, pyro } = fakes);
  });
  afterEach(() => fakes[Symbol.asyncDispose]());

  /** Plays the turns in a workspace; the answers to each turn, in order. */
  const played = async (turns: readonly Turn[], signal?: AbortSignal) => {
    const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
    await pyro.writeWorkspaceFile({ workspaceId, path: "a.txt", content: "one\ntwo\n" });
    await using api = await fakeResponsesApi(turns);
    const tools = [workspaceTools(pyro, workspaceId)];
    const result = await runResponses({ client: clientOf(api), tools, request: REQUEST, signal });
    return { workspaceId, api, result, answers: api.asked.slice(1).map(({ answers }) => answers) };
  };
  const content = async (workspaceId: string, path: string): Promise<string> =>
    Buffer.from((await pyro.readWorkspaceFile({ workspaceId, path })).data).toString();

  it("runs the commands of its shell tool one behind the other, each with its end", async () => {
    const { answers, result, api } = await played([
      () => [shell("echo out; echo err >&2; exit 3", "cat a.txt")],
      () => [say("done")],
    ]);
    expect(answers).toEqual([
      [
        {
          ...{ type: "shell_call_output", call_id: expect.any(String) as string },
          output: [
            { stdout: "out\n", stderr: "err\n", outcome: { type: "exit", exit_code: 3 } },
            { stdout: "one\ntwo\n", stderr: "", outcome: { type: "exit", exit_code: 0 } },
          ],
        },
      ],
    ]);
    expect(result).toMatchObject({ text: "done", rounds: 2 });
    expect(api.asked[0]?.body["tools"]).toEqual([
      { type: "shell", environment: { type: "local" } },
      { type: "apply_patch" },
    ]);
  });

  it("shows the beginning and the end of what a command wrote, and says how much that is", async () => {
    const { answers } = await played([() => [shell("seq 1 100000")], () => [say("done")]]);
    const [{ stdout = "" } = {}] = answers[0]?.[0]?.["output"] as { stdout?: string }[];
    expect(stdout).toMatch(/^1\n2\n3\n[^]*\n99999\n100000\n\n\[65536 of 588895 bytes are shown\]$/);
  });

  it("answers local_shell, the older one", async () => {
    const action = { type: "exec", command: ["sh", "-c", "echo $WORD"], env: { WORD: "hello" } };
    const { answers } = await played([
      () => [{ type: "local_shell_call", id: "ls_1", call_id: "call_ls", status: "completed", action }],
      () => [say("done")],
    ]);
    expect(answers[0]?.[0]).toMatchObject({ type: "local_shell_call_output", id: "call_ls" });
    expect(JSON.parse(answers[0]?.[0]?.["output"] as string)).toMatchObject({
      stdout: "hello\n",
      exit_code: 0,
    });
  });

  it("makes, changes and deletes files by its apply_patch tool, and tells what did not fit", async () => {
    const { workspaceId, answers } = await played([
      () => [patch({ type: "create_file", path: "new dir/b.txt", diff: "+b\n" })],
      () => [patch({ type: "update_file", path: "/workspace/a.txt", diff: "@@\n one\n-two\n+zwei\n" })],
      () => [
        patch({ type: "update_file", path: "a.txt", diff: "@@\n-three\n+drei\n" }),
        patch({ type: "create_file", path: "a.txt", diff: "+x\n" }),
        patch({ type: "update_file", path: "gone.txt", diff: "@@\n-a\n+b\n" }),
        patch({ type: "delete_file", path: "gone.txt" }),
        patch({ type: "rename_file", path: "a.txt" }),
      ],
      () => [patch({ type: "delete_file", path: "a.txt" })],
      () => [say("done")],
    ]);
    const states = answers.map((items) => items.map((item) => item["status"]));
    expect(states).toEqual([["completed"], ["completed"], Array<string>(5).fill("failed"), ["completed"]]);
    const words = (answers[2] ?? []).map((item) => String(item["output"]));
    expect(words[0]).toContain(
      'PATCH_DOES_NOT_APPLY: the file has no line "three"\nhint: read the file again',
    );
    expect(words[2]).toContain("GUEST_FILE_NOT_FOUND");
    expect(words[4]).toContain("create_file, update_file and delete_file");
    expect(await content(workspaceId, "new dir/b.txt")).toBe("b\n");
    const { entries } = await pyro.listWorkspaceFiles({ workspaceId });
    expect(entries.map(({ path }) => path)).toEqual(["/workspace/new dir"]);
  });

  it("tells the model of a workspace that is gone, and of tools that do not exist", async () => {
    await using api = await fakeResponsesApi([
      () => [shell("true"), call("rm_rf", { path: "/" })],
      () => [say("done")],
    ]);
    const tools = [workspaceTools(pyro, "ws-none")];
    await runResponses({ client: clientOf(api), tools, request: REQUEST });
    const [shellAnswer, callAnswer] = api.asked[1]?.answers ?? [];
    expect(JSON.stringify(shellAnswer)).toContain("WORKSPACE_NOT_FOUND");
    expect(callAnswer?.["output"]).toBe('there is no tool "rm_rf" here: call one of those of the request');
  });

  it("has the tools of a profile as functions: wrong names, wrong arguments and no JSON are answers", async () => {
    await using tools = await createTools({ stateDir: served.stateDir, profile: "workspace-core" });
    await using api = await fakeResponsesApi([
      () => [call("workspace_create", { empty: true, environment: "debian:12" })],
      () => [
        call("workspace_crate", {}),
        call("workspace_exec", { workspace: 7 }),
        call("workspace_exec", "{nonsense"),
      ],
      () => [say("done")],
    ]);
    const { text, rounds } = await runResponses({
      ...{ client: clientOf(api), tools: [functionTools(tools)] },
      request: { ...REQUEST, instructions: tools.instructions },
    });
    expect({ text, rounds }).toEqual({ text: "done", rounds: 3 });
    const [unknown, wrong, noJson] = (api.asked[2]?.answers ?? []).map((item) => String(item["output"]));
    expect(unknown).toContain("the tools are workspace_create, ");
    expect(wrong).toContain("INVALID_ARGUMENT");
    expect(noJson).toContain("the arguments are no JSON");
    expect(await pyro.listWorkspaces()).toHaveLength(1);
    const offered = api.asked[0]?.body["tools"] as Item[];
    expect(offered).toHaveLength(tools.tools.length);
    expect(offered[0]).toMatchObject({ type: "function", name: "workspace_create", strict: false });
  });

  it("ends the command that runs when it is aborted, and starts nothing more", async () => {
    const controller = new AbortController();
    const asked = played([() => [shell("echo begun; sleep 100", "touch second")]], controller.signal);
    let workspaceId = "";
    await expect
      .poll(async () => {
        workspaceId = (await pyro.listWorkspaces())[0]?.workspaceId ?? "";
        return workspaceId === "" ? 0 : (await pyro.listWorkspaceCommands(workspaceId)).length;
      })
      .toBe(1);
    controller.abort();
    await expect(asked).rejects.toMatchObject({ code: "CANCELLED" });
    const commands = await pyro.listWorkspaceCommands(workspaceId);
    expect(commands.map(({ state }) => state)).toEqual(["done"]);
  });

  describe("where the model's endpoint is the trouble", () => {
    const failure = async (api: { url: string; key: string }, more = {}): Promise<unknown> =>
      await runResponses({ client: clientOf(api), tools: [], request: REQUEST, ...more }).then(
        () => new Error("it did not fail"),
        (error: unknown) => error,
      );
    const garbled = async (raw: string): Promise<unknown> => {
      await using api: FakeResponsesApi = await fakeResponsesApi([() => ({ raw })]);
      return await failure(api);
    };

    it("says that the key is refused, and where it comes from", async () => {
      await using api = await fakeResponsesApi([() => [say("hello")]]);
      const error = await failure({ url: api.url, key: "sk-wrong" });
      expect(error).toMatchObject({ code: "MODEL_UNAUTHORIZED", retryable: false, details: { status: 401 } });
      expect(error).toMatchObject({ hint: "check the key: OPENAI_API_KEY, or apiKey of `new OpenAI`" });
      expect(JSON.stringify(error)).not.toContain("sk-wrong");
    });

    it.each([
      ["no events at all", "<html>hello</html>"],
      ["events that are no JSON", "data: {nonsense\n\n"],
      ["events of another kind", 'data: {"type":"chat.completion.chunk"}\n\n'],
      ["an end without its output", 'data: {"type":"response.completed","response":{}}\n\n'],
      ["an end without a response", 'data: {"type":"response.completed"}\n\n'],
      ["bytes", Buffer.from([0xff, 0xfe, 0, 1, 10, 10]).toString("latin1")],
      ["an error", 'data: {"type":"error","message":"overloaded"}\n\n'],
      ["a failure", 'data: {"type":"response.failed","response":{"error":{"message":"overloaded"}}}\n\n'],
    ])("says that %s is no response", async (_, raw) => {
      expect(await garbled(raw)).toMatchObject({
        name: "PyroError",
        code: expect.stringMatching(/^MODEL_(ANSWER_INVALID|ENDPOINT_FAILED)$/) as string,
        retryable: true,
      });
    });

    it("says that nothing listens there", async () => {
      const error = await failure({ url: "http://127.0.0.1:9/v1", key: "k" });
      expect(error).toMatchObject({ code: "MODEL_UNREACHABLE", details: { url: "http://127.0.0.1:9/v1" } });
    });

    it("does not ask for ever", async () => {
      await using api = await fakeResponsesApi([() => [call("again", {})]]);
      const error = await failure(api, { maxRounds: 3 });
      expect(error).toMatchObject({ code: "MODEL_ROUNDS_EXCEEDED", details: { rounds: 3 } });
      expect(api.asked).toHaveLength(3);
    });
  });
});
