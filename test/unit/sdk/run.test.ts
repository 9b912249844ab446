import { expect, test } from "vitest";
import { Pyro } from "../../../src/sdk/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

test("a run collects both streams and the outcome", async () => {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const result = await pyro.runInVm({ environment: "debian:12", argv: ["both"] });
  expect(result).toEqual({
    environment: "debian:12",
    stdout: "out\n",
    stderr: "err\n",
    stdoutTruncated: false,
    stderrTruncated: false,
    stdoutBytes: 4,
    stderrBytes: 4,
    exitCode: 3,
    signal: null,
    timedOut: false,
    outOfMemory: false,
    durationMs: 12,
    startupMs: 345,
    executionMode: "guest",
    isolation: "software",
    guestKernel: "6.1.0-fake",
  });
  expect(daemon.calls).toEqual(["Status", "Run"]);
});

test("standard input reaches the command from a string, bytes and an async iterable", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const run = async (stdin: string | Uint8Array | AsyncIterable<Uint8Array>) =>
    (await pyro.runInVm({ environment: "debian:12", argv: ["cat"], stdin })).stdout;
  expect(await run("hi\n")).toBe("hi\n");
  expect(await run(Buffer.from("bytes"))).toBe("bytes");
  const parts = (async function* () {
    yield Buffer.from("a");
    await Promise.resolve();
    yield Buffer.from("b");
  })();
  expect(await run(parts)).toBe("ab");
});

test("a large standard input comes back whole", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const stdin = Buffer.alloc(5_000_000, "0123456789");
  let bytes = 0;
  const result = await pyro.runInVm({
    environment: "debian:12",
    argv: ["cat"],
    stdin,
    onStdout: (data) => void (bytes += data.length),
  });
  expect(bytes).toBe(stdin.length);
  expect(result).toMatchObject({ stdoutTruncated: true, stdoutBytes: 5_000_000 });
  expect(result.stdout).toHaveLength(1024 * 1024);
});

test("a stream gives phases, output and the result in order", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const seen: string[] = [];
  for await (const event of pyro.streamInVm({ environment: "debian:12", argv: ["echo", "hi"] })) {
    seen.push(event.type === "phase" ? event.phase : event.type);
  }
  expect(seen).toEqual(["queued", "booting", "running", "stdout", "result"]);
});

test("a stream carries signals to the command", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const run = pyro.streamInVm({ environment: "debian:12", argv: ["sleep"] });
  let signal: string | null = "";
  for await (const event of run) {
    if (event.type === "stdout") await run.signal("SIGINT");
    if (event.type === "result") signal = event.result.signal;
  }
  expect(signal).toBe("SIGINT");
});

test("leaving a stream ends its call", async () => {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  for await (const event of pyro.streamInVm({ environment: "debian:12", argv: ["sleep"] })) {
    if (event.type === "stdout") break;
  }
  await expect.poll(() => daemon.abandoned).toContain("Run");
});

test("a daemon that dies in mid-call is DAEMON_UNREACHABLE and may be tried again", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const failure = await pyro
    .runInVm({ environment: "debian:12", argv: ["crash"] })
    .catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(PyroError);
  expect(failure).toMatchObject({ code: "DAEMON_UNREACHABLE", retryable: true });
  expect((await pyro.runInVm({ environment: "debian:12", argv: ["exit", "0"] })).exitCode).toBe(0);
});

test("an error of the daemon keeps its code, message and hint", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  await expect(pyro.runInVm({ environment: "debian:12", argv: ["missing"] })).rejects.toMatchObject({
    code: "COMMAND_NOT_FOUND",
    message: '"missing" is not in the guest',
    hint: "install it",
  });
});

test("the caller's signal and timeout end a call with their own codes", async () => {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const controller = new AbortController();
  const run = pyro.runInVm(
    { environment: "debian:12", argv: ["sleep"], onStdout: () => controller.abort() },
    { signal: controller.signal },
  );
  await expect(run).rejects.toMatchObject({ code: "CANCELLED" });
  const late = pyro.runInVm({ environment: "debian:12", argv: ["sleep"] }, { timeoutMs: 50 });
  await expect(late).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED", details: { timeout_ms: 50 } });
  await expect.poll(() => daemon.abandoned).toEqual(["Run", "Run"]);
  await expect(
    pyro.runInVm({ environment: "debian:12", argv: ["sleep"] }, { signal: AbortSignal.abort() }),
  ).rejects.toMatchObject({ code: "CANCELLED" });
});

test("a failing source of standard input ends the run with its reason", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const stdin = (async function* (): AsyncGenerator<Uint8Array> {
    await Promise.resolve();
    throw new Error("the disk is gone");
    yield Buffer.from("");
  })();
  await expect(pyro.runInVm({ environment: "debian:12", argv: ["cat"], stdin })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringContaining("the disk is gone") as string,
  });
});

test("a reader that is slow holds the command back", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  let open = 0;
  let most = 0;
  let bytes = 0;
  await pyro.runInVm({
    environment: "debian:12",
    argv: ["flood", String(20 * 65_536)],
    onStdout: async (data) => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 2));
      bytes += data.length;
      open--;
    },
  });
  expect({ most, bytes }).toEqual({ most: 1, bytes: 20 * 65_536 });
});

test("started runs are read, paged and cancelled", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  await using pyro = new Pyro({ stateDir: state.path });
  const started = await pyro.startRun({ environment: "debian:12", command: "flood 3000" });
  expect(started).toMatchObject({ state: "starting", phase: { phase: "queued", progress: null } });
  const read = await pyro.readRun({ runId: started.runId, offset: 1000, maxBytes: 100 });
  expect(read).toMatchObject({ state: "done", output: { offset: 1000, cutBytes: 1900, nextOffset: 1050 } });
  expect(await pyro.cancelRun(started.runId)).toMatchObject({ state: "done", result: { signal: "SIGKILL" } });
  await expect(pyro.readRun({ runId: "run-x" })).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
  await expect(pyro.readRun({ runId: "run-x", offset: -1 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  });
});
