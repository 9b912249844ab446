import type { ServerResponse } from "node:http";
import { afterEach, expect, test, vi } from "vitest";
import { cli, type CliRun, type CliSetup } from "../../fakes/cli-host.js";
import { startFakeDaemon, type FakeScript } from "../../fakes/fake-daemon.js";
import { calling, fakeModel, saying, type FakeModel, type ModelStep } from "../../fakes/fake-model.js";
import { slowRun } from "../../fakes/slow-run.js";
import { temporaryState } from "../../fakes/state-directory.js";

interface Demo extends CliRun {
  readonly model: FakeModel;
  readonly abandoned: readonly string[];
}

interface Setup extends CliSetup {
  readonly args?: readonly string[];
  readonly models?: Parameters<typeof fakeModel>[1];
  readonly script?: FakeScript;
}

/** One `pyro demo ollama` with a model that plays the steps, and a fake daemon. */
async function demo(
  steps: readonly ModelStep[],
  { args = [], models, script, ...setup }: Setup = {},
): Promise<Demo> {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path, script);
  await using model = await fakeModel(steps, models);
  const words = ["--state-dir", state.path, "demo", "ollama", "--base-url", model.url, ...args];
  const ended = await cli(words, setup);
  return { ...ended, model, abandoned: daemon.abandoned };
}

const body =
  (text: string | Buffer, status = 200, type = "application/json"): ModelStep =>
  (response) =>
    void response.writeHead(status, { "content-type": type }).end(text);

const KEY = "PYRO_TEST_MODEL_KEY";
afterEach(() => void vi.unstubAllEnvs());

const RUNS = [calling("vm_run", { argv: ["both"] }), saying("It is 6.1.0-fake with git 2.39.5.")];
const KEYS = [
  ...[
    "base_url",
    "model",
    "environment",
    "pulled",
    "prompt",
    "rounds",
    "calls",
    "answer",
    "answer_names_kernel",
  ],
  ...["isolation", "guest_kernel", "model_ms", "tools_ms", "total_ms"],
];

test("the model's calls are made, answered to it, and shown with real figures", async () => {
  const { status, stdout, stderr, model } = await demo(RUNS);
  expect({ status, stderr: stderr.includes("hint") }).toEqual({ status: 0, stderr: false });
  expect(stdout).toContain(`model         small:latest at ${model.url}\n`);
  expect(stdout).toContain('called        vm_run {"argv":["both"]}: exit 3, ');
  expect(stdout).toContain("answered      It is 6.1.0-fake with git 2.39.5.\n");
  expect(stdout).toContain("rounds        2, 1 call\n");
  const [first, second] = model.requests;
  expect(first?.model).toBe("small:latest");
  expect(first?.messages.map(({ role }) => role)).toEqual(["system", "user"]);
  expect(first?.tools.map((tool) => tool.function.name)).toEqual(["vm_run"]);
  expect(first?.tools[0]?.function.parameters).toMatchObject({ type: "object", additionalProperties: false });
  expect(second?.messages.slice(2)).toMatchObject([
    { role: "assistant", tool_calls: [{ function: { arguments: '{"argv":["both"]}' } }] },
    {
      role: "tool",
      tool_call_id: "call_1",
      content: expect.stringMatching(/^exit 3\b.*out\nerr\n$/s) as string,
    },
  ]);
});

test("--json has the same keys on each run, and -v tells on standard error what went on", async () => {
  const json = await demo(RUNS, { args: ["--json", "-v"] });
  const record = JSON.parse(json.stdout) as Record<string, unknown>;
  expect(Object.keys(record)).toEqual(KEYS);
  expect(record).toMatchObject({
    ...{ model: "small:latest", environment: "debian:12", pulled: false, rounds: 2 },
    calls: [{ tool: "vm_run", arguments: '{"argv":["both"]}', is_error: false, exit_code: 3 }],
    ...{ answer_names_kernel: true, isolation: "software", guest_kernel: "6.1.0-fake" },
  });
  expect(json.stderr).toContain('calls: vm_run {"argv":["both"]}\n');
  expect(json.stderr).toMatch(/^tool: {2}exit 3/m);
  expect(json.stderr).toContain("model: It is 6.1.0-fake");
  const other = [calling("vm_run", "nonsense"), ...RUNS.slice(0, 1), saying("Done.")];
  const again = JSON.parse((await demo(other, { args: ["--json"] })).stdout) as Record<string, unknown>;
  expect(Object.keys(again)).toEqual(KEYS);
  expect(again).toMatchObject({
    rounds: 3,
    answer_names_kernel: false,
    calls: [{ exit_code: null }, { exit_code: 3 }],
  });
});

test("what a model does wrong is answered to it, and it may go on", async () => {
  const wrong = [
    calling("shell", { command: "ls" }),
    calling("vm_run", '{"command": "ls'),
    calling("vm_run", { command: "ls", cwd: "/" }),
    calling("vm_run", { command: 7 }),
    { role: "assistant", tool_calls: [{}] },
  ];
  const { status, model } = await demo([...wrong, ...RUNS]);
  expect(status).toBe(0);
  const told = model.requests.at(-1)?.messages.filter(({ role }) => role === "tool") ?? [];
  expect(told.map(({ content }) => content.split(":")[0])).toEqual([
    ...["INVALID_ARGUMENT", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "INVALID_ARGUMENT"],
    expect.stringMatching(/^exit 3/),
  ]);
  expect(told[0]?.content).toContain("the tools are vm_run");
  // Servers read what a model wrote again: it has to be JSON.
  for (const { messages } of model.requests)
    for (const { tool_calls: calls = [] } of messages)
      for (const call of calls) JSON.parse(call.function.arguments);
});

test("of very many calls at once the first are made", async () => {
  const call = (RUNS[0] as { tool_calls: object[] }).tool_calls[0];
  const { status, model } = await demo([
    { tool_calls: Array.from({ length: 30 }, () => call) },
    saying("ok"),
  ]);
  expect(status).toBe(0);
  const told = model.requests.at(-1)?.messages.filter(({ role }) => role === "tool") ?? [];
  expect(told.filter(({ content }) => content.startsWith("exit 3"))).toHaveLength(8);
  expect(told.filter(({ content }) => content.startsWith("not called"))).toHaveLength(22);
});

test("thoughts are not the answer, and arguments may be an object", async () => {
  const steps = [
    { tool_calls: [{ function: { name: "vm_run", arguments: { argv: ["both"] } } }] },
    saying("<think>\nhm\n</think>\n6.1.0-fake"),
  ];
  const { stdout } = await demo(steps, { args: ["--json"] });
  expect(JSON.parse(stdout)).toMatchObject({ answer: "6.1.0-fake", calls: [{ exit_code: 3 }] });
});

const noTools = (message: string): ModelStep =>
  body(JSON.stringify({ error: { message, type: "api_error" } }), 400);

test.each<[string, readonly ModelStep[], Setup, RegExp, RegExp]>([
  [
    "calls no tool",
    [saying("You could run uname -r yourself.")],
    {},
    /^MODEL_WITHOUT_TOOLS: small:latest answered without calling a tool; it wrote: You could run/m,
    /take a model that can call tools/,
  ],
  [
    "writes its call as text",
    [saying('{"name":"vm_run","arguments":{}}')],
    {},
    /^MODEL_WITHOUT_TOOLS: .*it wrote: \{"name":"vm_run"/m,
    /--model/,
  ],
  [
    "has no tools at all",
    [noTools("registry.example/library/gemma:2b does not support tools")],
    {},
    /^MODEL_WITHOUT_TOOLS: .*its endpoint says: registry.example\/library\/gemma:2b does not support tools/m,
    /ollama pull/,
  ],
  [
    "never runs a command",
    [calling("vm_run", {}), saying("Something went wrong.")],
    { script: { run: { startRun: () => Promise.reject(new Error("broken")) } } },
    /^MODEL_TASK_FAILED: .*ran no command, and says: Something went wrong.; its last call was answered: /m,
    /-v/,
  ],
  [
    "answers nothing in the end",
    [...RUNS.slice(0, 1), saying("")],
    {},
    /^MODEL_TASK_FAILED: .*answered nothing/m,
    /--model/,
  ],
])("a model that %s is named", async (_, steps, setup, says, hint) => {
  const { status, stderr, stdout } = await demo(steps, setup);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(says);
  expect(/^hint: (.*)$/m.exec(stderr)?.[1]).toMatch(hint);
});

test("a model that calls on and on is left after twelve rounds", async () => {
  const { status, stderr, model } = await demo([calling("shell", {})]);
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^MODEL_TASK_FAILED: small:latest still calls tools after 12 rounds; its last call was/m,
  );
  expect(model.requests).toHaveLength(12);
});

test.each<[string, Setup["models"], readonly string[], RegExp, RegExp]>([
  ["no model", [], [], /MODEL_NOT_FOUND: \S+ has no model$/m, /ollama pull/],
  ["another model", ["a:1", "b:2"], ["--model", "c"], /has no model "c"$/m, /--model a:1`: a:1, b:2/],
  ["no list", body("404 page not found", 404, "text/plain"), [], /does not list its models/, /--model NAME/],
  [
    "a web page",
    body("<!doctype html><title>Hi</title>", 200, "text/html"),
    [],
    /MODEL_ANSWER_INVALID: .*is a web page: <!doc/,
    /\/v1/,
  ],
  [
    "JSON of another kind",
    { hello: 1 },
    [],
    /MODEL_ANSWER_INVALID: .*is no list of models: \{"hello":1\}/,
    /\/v1/,
  ],
  ["an error", body("{}", 503), [], /MODEL_ENDPOINT_FAILED: .*HTTP 503/, /log/],
  [
    "a redirect",
    (response) => void response.writeHead(302, { location: "http://other.example/v1" }).end(),
    [],
    /leads elsewhere \(HTTP 302\)/,
    /other\.example/,
  ],
])("an endpoint with %s", async (_, models, args, says, hint) => {
  const { status, stderr, model } = await demo(RUNS, { models: models ?? [], args });
  expect(status).toBe(1);
  expect(stderr).toMatch(says);
  expect(/^hint: (.*)$/m.exec(stderr)?.[1]).toMatch(hint);
  expect(model.requests).toEqual([]);
});

test("the model is the first that talks, or the one that is named", async () => {
  const models = ["nomic-embed-text:latest", "big:latest", "small:latest"];
  expect((await demo(RUNS, { models })).model.requests[0]?.model).toBe("big:latest");
  expect((await demo(RUNS, { models, args: ["--model", "small"] })).model.requests[0]?.model).toBe(
    "small:latest",
  );
  const silent = await demo(RUNS, { models: body("", 404), args: ["--model", "mine"] });
  expect(silent.model.requests[0]?.model).toBe("mine");
});

test.each<[string, ModelStep, RegExp]>([
  ["a web page", body("<html>login</html>", 200, "text/html"), /is a web page: <html>login/],
  ["what is no JSON", body(Buffer.from([0, 27, 255, 1, 2])), /is no JSON: \^@/],
  [
    "a stream that nobody asked for",
    body('data: {"choices":[]}\n\ndata: [DONE]\n\n', 200, "text/event-stream"),
    /is no JSON: data: /,
  ],
  ["no choices", body('{"id":1}'), /has no choices/],
  ["an empty choice", body('{"choices":[{}]}'), /has no message/],
  ["calls that are no list", { tool_calls: 7 }, /tool calls that are no list/],
  [
    "half an answer",
    (response) =>
      void response.writeHead(200, { "content-length": "900" }).write('{"ch', () => response.destroy()),
    /MODEL_UNREACHABLE|is no JSON/,
  ],
  ["garbage without end", (response) => flood(response), /MODEL_ANSWER_INVALID: .*does not end: garbage/],
])("%s instead of an answer is told, and nothing stays", async (_, step, says) => {
  const { status, stderr } = await demo([step]);
  expect(status).toBe(1);
  expect(stderr).toMatch(says);
  expect(stderr).toMatch(/^hint: /m);
  expect(stderr).not.toContain("\u001b");
});

/** Writes until nobody reads any more. */
function flood(response: ServerResponse): void {
  const more = (): void => {
    while (!response.destroyed && response.write("garbage ".repeat(8192)));
    if (!response.destroyed) response.once("drain", more);
  };
  response.writeHead(200);
  more();
}

test("an endpoint that is not there", async () => {
  const gone = await fakeModel([]);
  await gone[Symbol.asyncDispose]();
  const { status, stderr } = await cli(["demo", "ollama", "--base-url", gone.url]);
  expect(status).toBe(1);
  expect(stderr).toBe(
    `MODEL_UNREACHABLE: ${gone.url} cannot be reached: ECONNREFUSED\n` +
      "hint: start the model's server (for Ollama `ollama serve`), or name another address: `--base-url URL`\n",
  );
  const json = await cli(["demo", "ollama", "--json", "--base-url", gone.url]);
  expect(JSON.parse(json.stdout)).toMatchObject({ error: { code: "MODEL_UNREACHABLE", retryable: true } });
});

test("an address that ends too early gets the hint", async () => {
  await using model = await fakeModel(RUNS);
  const base = model.url.replace(/\/v1$/, "");
  const { stderr } = await cli(["demo", "ollama", "--base-url", `${base}/`]);
  expect(stderr).toContain(`\`--base-url ${base}/v1\``);
});

test.each([
  ["ftp://localhost/v1", /address of HTTP/],
  ["nonsense", /address of HTTP/],
  ["http://me:secret@localhost/v1", /no password/],
])("the address %s is refused", async (url, says) => {
  const { stderr } = await cli(["demo", "ollama", "--base-url", url]);
  expect(stderr).toMatch(says);
  expect(stderr).not.toContain("secret");
});

const unauthorized = body('{"error":{"message":"Incorrect API key"}}', 401);

test("a key that is missing or wrong", async () => {
  const without = await demo(RUNS, { models: unauthorized });
  expect(without.status).toBe(1);
  expect(without.stderr).toMatch(
    /MODEL_UNAUTHORIZED: \S+ wants a key \(HTTP 401\): Incorrect API key\n.*--api-key-env NAME/s,
  );
  vi.stubEnv(KEY, "sk-wrong-key");
  const wrong = await demo(RUNS, { models: unauthorized, args: ["--api-key-env", KEY] });
  expect(wrong.stderr).toContain("does not take this key (HTTP 401)");
  expect(wrong.stderr).not.toContain("sk-wrong-key");
  expect(wrong.model.keys).toEqual(["Bearer sk-wrong-key"]);
});

test("a key goes with each request; a variable without one is named", async () => {
  vi.stubEnv(KEY, "sk-right");
  const right = await demo(RUNS, { args: ["--api-key-env", KEY] });
  expect(right.status).toBe(0);
  expect(right.model.keys).toEqual(["Bearer sk-right", "Bearer sk-right", "Bearer sk-right"]);
  vi.stubEnv(KEY, "two words");
  expect((await demo(RUNS, { args: ["--api-key-env", KEY] })).stderr).toMatch(/holds no key/);
  vi.stubEnv(KEY, undefined);
  const unset = await demo(RUNS, { args: ["--api-key-env", KEY] });
  expect(unset.stderr).toContain(`the variable ${KEY} is not set`);
  expect(unset.model.keys).toEqual([]);
});

test("a model that thinks too long", async () => {
  const { status, stderr } = await demo([() => undefined], { args: ["--timeout-seconds", "1"] });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^DEADLINE_EXCEEDED: \S+ gave no whole answer within 1 s$/m);
});

test("Ctrl-C ends the wait for the model", async () => {
  let asked = false;
  const { status, stderr } = await demo([() => void (asked = true)], {
    during: async (send) => {
      await expect.poll(() => asked).toBe(true);
      send("SIGINT");
    },
  });
  expect(status).toBe(130);
  expect(stderr).toContain("CANCELLED");
});

test("Ctrl-C ends the machine that the model called", async () => {
  const { script, cancelled } = slowRun(1e9);
  let reads = 0;
  const readRun = script.run?.readRun;
  if (readRun === undefined) throw new Error("no script");
  const watched: typeof readRun = (...given) => (reads++, readRun(...given));
  const { status } = await demo(RUNS, {
    script: { run: { ...script.run, readRun: watched } },
    during: async (send) => {
      await expect.poll(() => reads).toBeGreaterThan(0);
      send("SIGINT");
    },
  });
  expect(status).toBe(130);
  expect(cancelled).toEqual(["run-0123456789abcdef"]);
});

test("a run that the model did not wait for is ended", async () => {
  const { script, cancelled } = slowRun(1e9);
  const looks = calling("vm_run", { run_id: "run-0123456789abcdef" });
  const { status, stderr } = await demo([looks, saying("It still runs.")], { script });
  expect(status).toBe(1);
  expect(stderr).toContain("MODEL_TASK_FAILED");
  expect(cancelled).toEqual(["run-0123456789abcdef"]);
});

test("an environment that is not here is made first, and an unknown one is named", async () => {
  const made = await demo(RUNS, { args: ["--environment", "debian:12-build", "--json"] });
  expect(JSON.parse(made.stdout)).toMatchObject({ environment: "debian:12-build", pulled: true });
  expect(made.stderr).toContain("fetch it");
  const unknown = await demo(RUNS, { args: ["--environment", "debian:99"] });
  expect(unknown.stderr).toContain("UNKNOWN_ENVIRONMENT");
  expect(unknown.model.requests).toEqual([]);
});
