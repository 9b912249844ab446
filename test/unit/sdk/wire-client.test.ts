import { once } from "node:events";
import { createServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openConnection, type Connection } from "../../../src/sdk/connection.js";
import { wireError } from "../../../src/sdk/call.js";
import { envelope } from "../../../src/sdk/envelope.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

const END = Buffer.from([0b10, 0, 0, 0, 2, 0x7b, 0x7d]);
const STREAM = { ":status": 200, "content-type": "application/connect+proto" };

/** A daemon that does with each call what the test says, and nothing else; a connection to it. */
async function against(
  answer: (stream: ServerHttp2Stream) => void,
): Promise<{ connection: Connection } & AsyncDisposable> {
  const state = await temporaryState();
  const path = join(state.path, "daemon.sock");
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer();
  server.on("session", (session) => sessions.add(session));
  server.on("stream", (stream) => {
    stream.on("error", () => undefined);
    answer(stream);
  });
  await once(server.listen(path), "listening");
  const connection = await openConnection(path);
  return {
    connection,
    [Symbol.asyncDispose]: async () => {
      connection[Symbol.dispose]();
      for (const session of sessions) session.destroy();
      await new Promise((resolve) => server.close(resolve));
      await state[Symbol.asyncDispose]();
    },
  };
}

async function status({ connection }: { connection: Connection }, signal?: AbortSignal): Promise<unknown> {
  return await (await connection.service("daemon")).status({}, signal === undefined ? {} : { signal });
}

/** All answers to a diagnosis, which is a stream of them. */
async function diagnosis(
  { connection }: { connection: Connection },
  signal?: AbortSignal,
): Promise<unknown[]> {
  const doctor = await connection.service("doctor");
  const answers = [];
  for await (const answer of doctor.diagnose({}, signal === undefined ? {} : { signal }))
    answers.push(answer);
  return answers;
}

const failure = async (call: Promise<unknown>): Promise<unknown> =>
  await call.then(
    () => expect.unreachable("it succeeded"),
    (error: unknown) => error,
  );

test("an answer that is cut off is a lost daemon, never a shorter answer", async () => {
  await using half = await against((stream) => {
    stream.respond({ ":status": 200, "content-type": "application/proto" });
    stream.write(Buffer.from([0x0a, 3]), () => stream.close(8));
  });
  expect(wireError(await failure(status(half)))).toMatchObject({
    code: "DAEMON_UNREACHABLE",
    retryable: true,
  });
  await using none = await against((stream) => stream.close(8));
  expect(wireError(await failure(status(none)))).toMatchObject({ code: "DAEMON_UNREACHABLE" });
  await using gone = await against((stream) => stream.session?.destroy());
  expect(wireError(await failure(status(gone)))).toMatchObject({ code: "DAEMON_UNREACHABLE" });
});

test("a stream that stops before it said so is a lost daemon, after what it sent", async () => {
  await using daemon = await against((stream) => {
    stream.respond(STREAM);
    stream.end(envelope(Buffer.alloc(0)));
  });
  const answers = (await daemon.connection.service("doctor")).diagnose({})[Symbol.asyncIterator]();
  expect((await answers.next()).done).toBe(false);
  expect(wireError(await failure(answers.next()))).toMatchObject({ code: "DAEMON_UNREACHABLE" });
});

test("nothing comes after a stream's end", async () => {
  await using daemon = await against((stream) => {
    stream.respond(STREAM);
    stream.end(Buffer.concat([END, envelope(Buffer.alloc(0))]));
  });
  expect(String(await failure(diagnosis(daemon)))).toContain("more than the end of a stream");
});

test("a call ends with its signal, whatever the daemon does", async () => {
  await using silent = await against(() => undefined);
  for (const call of [status, diagnosis]) {
    const controller = new AbortController();
    const reason = new Error("enough");
    const failed = failure(call(silent, controller.signal));
    setTimeout(() => controller.abort(reason), 20);
    expect(await failed).toBe(reason);
    expect(await failure(call(silent, AbortSignal.abort(reason)))).toBe(reason);
  }
});

test("an input that fails ends the call with its error", async () => {
  await using silent = await against(() => undefined);
  const broken = new Error("the source broke");
  const workspace = await silent.connection.service("workspace");
  async function* input(): AsyncGenerator<{ data: Uint8Array }> {
    yield { data: Buffer.from("x") };
    throw broken;
  }
  expect(await failure(workspace.writeFile(input()))).toBe(broken);
});

test("an answer of another kind is told by its status", async () => {
  await using odd = await against((stream) => {
    stream.respond({ ":status": 404, "content-type": "text/html" });
    stream.end("<html>");
  });
  for (const call of [status, diagnosis])
    expect(wireError(await failure(call(odd)))).toMatchObject({
      code: "INTERNAL",
      hint: "it is of another version: run `pyro daemon stop`, then try again",
    });
});

test("input waits for a daemon that does not take it, and is not kept in memory", async () => {
  await using silent = await against((stream) => stream.pause());
  let taken = 0;
  const data = Buffer.alloc(64 * 1024);
  async function* input(): AsyncGenerator<{ data: Uint8Array }> {
    while (taken < 1000) {
      taken += 1;
      yield { data };
    }
  }
  const controller = new AbortController();
  const workspace = await silent.connection.service("workspace");
  const failed = failure(workspace.writeFile(input(), { signal: controller.signal }));
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(taken).toBeGreaterThan(0);
  expect(taken).toBeLessThan(100);
  controller.abort(new Error("enough"));
  await failed;
});

test("a real daemon's side of the wire understands it: large messages, both ways", async () => {
  await using state = await temporaryState();
  const patch = Buffer.alloc(3 * 1024 * 1024, "+");
  await using daemon = await startFakeDaemon(state.path, {
    workspace: {
      applyPatch: (request) => ({ changed: request.patch.length === patch.length }),
      diff: async function* () {
        yield { event: { case: "patch", value: patch } };
        yield { event: { case: "patch", value: Buffer.from("end") } };
      },
    },
  });
  using connection = await openConnection(daemon.socketPath);
  const workspace = await connection.service("workspace");
  expect((await workspace.applyPatch({ workspace: "w", patch })).changed).toBe(true);
  const lengths = [];
  for await (const { event } of workspace.diff({ workspace: "w" }))
    lengths.push(event.case === "patch" ? event.value.length : undefined);
  expect(lengths).toEqual([patch.length, 3]);
  expect(daemon.abandoned).toEqual([]);
});
