/**
 * A guest for the fake daemon: a handful of commands that behave like their namesakes, over the real messages.
 *   echo WORD…, cat, exit N, kill-self SIGNAL, sleep (until a signal), trap (says the signal, goes on until SIGTERM),
 *   flood BYTES, both, bytes (prints its own argv as it came), slow-exit (a result after 100 ms), crash (the daemon dies),
 *   missing (COMMAND_NOT_FOUND), not-executable (COMMAND_NOT_EXECUTABLE), timeout (a result that timed out)
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  CommandResultSchema,
  RunOutputSchema,
} from "../../src/protocol/gen/pyro/daemon/v1/command_pb.js";
import {
  RunSpecSchema,
  RunState,
  type RunRecordSchema,
  type RunRequest,
  type RunResponseSchema,
  type RunService,
  type RunSpec,
} from "../../src/protocol/gen/pyro/daemon/v1/run_pb.js";
import { PyroError } from "../../src/protocol/index.js";
import { asWireError } from "./fake-daemon.js";

type Response = MessageInitShape<typeof RunResponseSchema>;
type Result = MessageInitShape<typeof CommandResultSchema>;
type Record = MessageInitShape<typeof RunRecordSchema>;

const phase = (name: string, progress = -1): Response => ({
  event: { case: "phase", value: { phase: name, message: `${name} it`, progress } },
});
const out = (text: string | Uint8Array): Response => ({
  event: { case: "stdout", value: Buffer.from(text) },
});
const err = (text: string): Response => ({ event: { case: "stderr", value: Buffer.from(text) } });

/** A result of the fake guest. */
function fakeResult(environment: string, result: Partial<Result>): Result {
  return {
    environment,
    durationUs: 12_000n,
    startupUs: 345_000n,
    isolation: "software",
    guestKernel: "6.1.0-fake",
    ...result,
  } as Result;
}

/** The RunService of the fake daemon. */
export function fakeGuest(specs: RunSpec[], crash: () => void): ServiceImpl<typeof RunService> {
  const runs = new Map<string, { events: Response[]; result: Result; reads: number; cancelled: boolean }>();
  return {
    async *run(requests) {
      const inputs = requests[Symbol.asyncIterator]();
      const first = await inputs.next();
      if (first.done === true || first.value.request.case !== "start") throw new Error("no start");
      const spec = first.value.request.value.spec as RunSpec;
      specs.push(spec);
      yield phase("queued");
      yield phase("booting");
      yield phase("running");
      const { openStdin } = first.value.request.value;
      yield* perform(spec, openStdin || words(spec)[0] !== "cat" ? inputs : nothing(), crash);
    },
    async startRun({ spec }) {
      const run = spec ?? create(RunSpecSchema);
      specs.push(run);
      const events: Response[] = [];
      for await (const event of perform(run, nothing(), crash)) events.push(event);
      const last = events.at(-1)?.event;
      const result = last?.case === "result" ? last.value : fakeResult(run.environment, { exitCode: 0 });
      const runId = `run-${String(runs.size + 1).padStart(16, "0")}`;
      runs.set(runId, { events, result, reads: 0, cancelled: false });
      return {
        runId,
        state: RunState.STARTING,
        phase: { phase: "queued", message: "queued it", progress: -1 },
      };
    },
    readRun({ runId, offset, maxBytes }): Record {
      const run = runs.get(runId);
      if (run === undefined) throw notFound(runId);
      return {
        runId,
        state: RunState.DONE,
        result: run.result,
        output: windowOf(run.events, Number(offset), maxBytes),
      };
    },
    cancelRun({ runId }): Record {
      const run = runs.get(runId);
      if (run === undefined) throw notFound(runId);
      return { runId, state: RunState.DONE, result: fakeResult("debian:12", { signal: "SIGKILL" }) };
    },
  };
}

function notFound(runId: string): Error {
  return asWireError(new PyroError("RUN_NOT_FOUND", `run ${runId} is not known`, { hint: "start it again" }));
}

function words(spec: RunSpec): string[] {
  return spec.command === ""
    ? spec.argv.map((word) => Buffer.from(word).toString())
    : spec.command.split(" ");
}

/** The input of a command that has none. */
function nothing(): AsyncIterator<RunRequest> {
  return { next: () => Promise.resolve({ done: true, value: undefined }) };
}

async function* perform(
  spec: RunSpec,
  inputs: AsyncIterator<RunRequest>,
  crash: () => void,
): AsyncGenerator<Response> {
  const [name = "", ...rest] = words(spec);
  const done = (result: Partial<Result>): Response => ({
    event: { case: "result", value: fakeResult(spec.environment, result) },
  });
  if (spec.command === "" && spec.argv.length === 0) {
    throw asWireError(new PyroError("COMMAND_REQUIRED", "no command is given", { hint: "say what to run" }));
  }
  switch (name) {
    case "echo":
      yield out(`${rest.join(" ")}\n`);
      yield done({ exitCode: 0 });
      return;
    case "both":
      yield out("out\n");
      yield err("err\n");
      yield done({ exitCode: 3 });
      return;
    case "exit":
      yield done({ exitCode: Number(rest[0]) });
      return;
    case "kill-self":
      yield done({ signal: rest[0] ?? "SIGKILL" });
      return;
    case "timeout":
      yield out("partial\n");
      yield done({ signal: "SIGKILL", timedOut: true });
      return;
    case "bytes":
      for (const word of spec.argv) yield out(Buffer.concat([word, Buffer.from("\n")]));
      for (const entry of spec.env) yield out(Buffer.concat([entry, Buffer.from("\n")]));
      yield done({ exitCode: 0 });
      return;
    case "flood":
      yield* flood(Number(rest[0]));
      yield done({ exitCode: 0 });
      return;
    case "print":
      yield out(Buffer.from(rest[0] ?? "", "hex"));
      yield done({ exitCode: 0 });
      return;
    case "slow-exit":
      await new Promise((resolve) => setTimeout(resolve, 100));
      yield done({ exitCode: 0 });
      return;
    case "crash":
      yield out("before\n");
      await new Promise((resolve) => setTimeout(resolve, 50));
      crash();
      return;
    case "missing":
      throw asWireError(
        new PyroError("COMMAND_NOT_FOUND", `"${name}" is not in the guest`, { hint: "install it" }),
      );
    case "not-executable":
      throw asWireError(
        new PyroError("COMMAND_NOT_EXECUTABLE", `"${name}" cannot be executed`, { hint: "chmod +x" }),
      );
    case "cat":
      yield* cat(inputs);
      yield done({ exitCode: 0 });
      return;
    case "sleep":
      yield out("ready\n");
      yield done({ signal: await nextSignal(inputs) });
      return;
    case "trap":
      yield out("ready\n");
      for (;;) {
        const signal = await nextSignal(inputs);
        yield out(`got ${signal}\n`);
      }
    default:
      throw asWireError(new PyroError("COMMAND_NOT_FOUND", `"${name}" is not in the guest`));
  }
}

async function* cat(inputs: AsyncIterator<RunRequest>): AsyncGenerator<Response> {
  let total = 0n;
  for (;;) {
    const next = await inputs.next();
    if (next.done === true || next.value.request.case === "stdinEnd") return;
    if (next.value.request.case !== "stdin") continue;
    yield out(next.value.request.value);
    total += BigInt(next.value.request.value.length);
    yield { event: { case: "stdinAccepted", value: total } };
  }
}

async function nextSignal(inputs: AsyncIterator<RunRequest>): Promise<string> {
  for (;;) {
    const next = await inputs.next();
    if (next.done === true) return await new Promise(() => undefined);
    if (next.value.request.case === "signal") return next.value.request.value;
  }
}

async function* flood(bytes: number): AsyncGenerator<Response> {
  const chunk = Buffer.alloc(64 * 1024, "0123456789abcdef\n");
  for (let sent = 0; sent < bytes; sent += chunk.length) {
    yield out(chunk.subarray(0, Math.min(chunk.length, bytes - sent)));
  }
}

/** Head, cut and tail of what the events wrote, as the real daemon cuts it. */
function windowOf(
  events: Response[],
  offset: number,
  maxBytes: number,
): MessageInitShape<typeof RunOutputSchema> {
  const bytesOf = (...cases: string[]): Buffer =>
    Buffer.concat(
      events.map(({ event }) =>
        event !== undefined && cases.includes(event.case ?? "")
          ? (event.value as Uint8Array)
          : Buffer.alloc(0),
      ),
    );
  const all = bytesOf("stdout", "stderr");
  const rest = all.subarray(offset);
  const cut = rest.length > maxBytes;
  const half = Math.floor(maxBytes / 2);
  const head = cut ? rest.subarray(0, half) : rest;
  const tail = cut ? rest.subarray(-half) : Buffer.alloc(0);
  const stdout = bytesOf("stdout");
  const stderr = bytesOf("stderr");
  return {
    offset: BigInt(offset),
    head,
    tail,
    cutBytes: BigInt(rest.length - head.length - tail.length),
    nextOffset: BigInt(offset + head.length),
    totalBytes: BigInt(all.length),
    stdout: stdout.subarray(0, maxBytes),
    stderr: stderr.subarray(0, maxBytes),
    stdoutTruncated: stdout.length > maxBytes,
    stderrTruncated: stderr.length > maxBytes,
    stdoutBytes: BigInt(stdout.length),
    stderrBytes: BigInt(stderr.length),
  };
}
