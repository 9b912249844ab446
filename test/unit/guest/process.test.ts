import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { beforeEach, describe, expect, it, vi } from "vitest";
import {
  connectGuest,
  startProcess,
  type GuestConnection,
  type GuestProcess,
  type OutputPiece,
  type ProcessSpec,
} from "../../../src/guest/index.js";
import { LIMITS, type PyroError } from "../../../src/protocol/index.js";
import {
  ErrorDetailSchema,
  OutputStream,
  ProcessService,
  ReadOutputRequestSchema,
  type ReadOutputRequest,
  type StartRequest,
} from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { FakeGuest, type FakeGuestScript } from "../../fakes/fake-guest.js";

type Reply = { event: { case: "chunk"; value: object } | { case: "exit"; value: object } | { case: undefined } };
type ReadOutput = (request: ReadOutputRequest, call: number) => AsyncGenerator<Reply> | Reply[];
interface Script {
  readonly readOutput?: ReadOutput;
  readonly writeInput?: (data: AsyncIterable<{ data: Uint8Array; end: boolean; processId: string }>) => Promise<object>;
  readonly start?: (request: StartRequest) => object;
}

const spec: ProcessSpec = { processId: "p1", argv: ["/bin/true"], env: ["A=B=C"] };
const chunk = (text: string, offset: number, stream = OutputStream.STDOUT): Reply => ({
  event: { case: "chunk", value: { stream, offset: BigInt(offset), data: Buffer.from(text) } },
});
const exit = (value: object = {}): Reply => ({ event: { case: "exit", value } });
const code = (expected: string) => expect.objectContaining({ code: expected }) as PyroError;

/** Whether the agent starts and reads in one exchange, or is an older one. */
let runs = false;

async function withGuest(script: Script, use: (guest: FakeGuest, connection: GuestConnection) => Promise<void>): Promise<void> {
  let calls = 0;
  await using guest = await FakeGuest.start({
    capabilities: runs ? ["run"] : [],
    routes: (router) =>
      router.service(ProcessService, {
        start: (request) => script.start?.(request) ?? { pid: 42 },
        run: async function* (request) {
          if (!runs) throw new Error("no such method");
          yield { event: { case: "started", value: script.start?.(request) ?? { pid: 42 } } };
          calls += 1;
          const from = create(ReadOutputRequestSchema, { processId: request.processId });
          yield* (script.readOutput?.(from, calls) ?? [exit()]) as AsyncGenerator<Reply>;
        },
        readOutput: async function* (request) {
          calls += 1;
          yield* (script.readOutput?.(request, calls) ?? [exit()]) as AsyncGenerator<Reply>;
        },
        writeInput: async (messages) => (await script.writeInput?.(messages)) ?? {},
        signal: () => ({}),
        remove: () => ({}),
      }),
  });
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  await use(guest, connection);
}

async function read(process: GuestProcess): Promise<OutputPiece[]> {
  const pieces: OutputPiece[] = [];
  for await (const piece of process.output) pieces.push(piece);
  return pieces;
}

const text = (pieces: readonly OutputPiece[]): string => pieces.map(({ data }) => Buffer.from(data).toString()).join("");

describe.each([
  ["an agent that runs in one exchange", true],
  ["an older agent", false],
])("a process in the guest, %s", (_, isRunning) => {
  beforeEach(() => {
    runs = isRunning;
  });

  it("gives its output in order, then its exit", async () => {
    const start = vi.fn(() => ({ pid: 7 }));
    const readOutput = (): Reply[] => [
      chunk("out", 0),
      chunk("err", 0, OutputStream.STDERR),
      chunk("put", 3),
      exit({ code: 3, durationUs: 1500n, outOfMemory: true }),
    ];
    await withGuest({ start, readOutput }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, timeoutMs: 5, whenUnread: "drop-oldest" });
      expect(process.pid).toBe(7);
      expect(start).toHaveBeenCalledWith(expect.objectContaining({ processId: "p1", timeoutMs: 5, outputPolicy: 2 }));
      const pieces = await read(process);
      expect(pieces.map(({ stream, offset }) => [stream, offset])).toEqual([
        ["stdout", 0],
        ["stderr", 0],
        ["stdout", 3],
      ]);
      expect(await process.exit).toEqual({
        exitCode: 3,
        signal: undefined,
        timedOut: false,
        outOfMemory: true,
        durationUs: 1500,
        stdoutBytes: 6,
        stderrBytes: 3,
        stdoutDroppedBytes: 0,
        stderrDroppedBytes: 0,
      });
      await process.signal("SIGINT");
      await process[Symbol.asyncDispose]();
      await process[Symbol.asyncDispose]();
    });
  });

  it("goes on by offset on a new connection", async () => {
    const offsets: bigint[] = [];
    const readOutput: ReadOutput = async function* (request, call) {
      offsets.push(request.stdoutOffset);
      if (call === 1) {
        yield chunk("abc", 0);
        await new Promise(() => undefined);
      }
      // An agent may begin a little before what was asked for.
      yield chunk("cdef", 2);
      yield exit();
    };
    await withGuest({ readOutput }, async (guest, connection) => {
      let second: GuestConnection | undefined;
      const reconnect = async (): Promise<GuestConnection> => (second = await connectGuest(guest.path));
      const process = await startProcess(connection, spec, { reconnect });
      const pieces: OutputPiece[] = [];
      for await (const piece of process.output) {
        pieces.push(piece);
        if (pieces.length === 1) guest.hangUp();
      }
      expect(text(pieces)).toBe("abcdef");
      expect(offsets).toEqual([0n, 3n]);
      expect((await process.exit).stdoutBytes).toBe(6);
      await process.signal("SIGTERM", { wholeTree: true });
      await second?.[Symbol.asyncDispose]();
    });
  });

  it("repeats a small call on a new connection", async () => {
    await withGuest({}, async (guest, connection) => {
      let second: GuestConnection | undefined;
      const reconnect = async (): Promise<GuestConnection> => (second = await connectGuest(guest.path));
      const process = await startProcess(connection, spec, { reconnect });
      guest.hangUp();
      await connection.closed;
      await process.signal("SIGTERM");
      await process[Symbol.asyncDispose]();
      await second?.[Symbol.asyncDispose]();
    });
  });

  it("ends with the loss of the port where nobody reconnects, or where that brings nothing", async () => {
    const readOutput: ReadOutput = async function* () {
      await new Promise(() => undefined);
      yield exit();
    };
    await withGuest({ readOutput }, async (guest, connection) => {
      const process = await startProcess(connection, spec);
      const reading = read(process);
      setTimeout(() => guest.hangUp(), 20);
      await expect(reading).rejects.toEqual(code("GUEST_DISCONNECTED"));
      await expect(process.exit).rejects.toEqual(code("GUEST_DISCONNECTED"));
      await expect(process.signal("SIGTERM")).rejects.toEqual(code("GUEST_DISCONNECTED"));
      await process[Symbol.asyncDispose]();
      const opened: GuestConnection[] = [];
      const again = await connectGuest(guest.path);
      const reconnect = async (): Promise<GuestConnection> => {
        const next = await connectGuest(guest.path);
        opened.push(next);
        setTimeout(() => guest.hangUp(), 5);
        return next;
      };
      const stubborn = await startProcess(again, spec, { reconnect });
      setTimeout(() => guest.hangUp(), 5);
      await expect(read(stubborn)).rejects.toEqual(code("GUEST_DISCONNECTED"));
      expect(opened.length).toBe(5);
      for (const each of [...opened, again]) await each[Symbol.asyncDispose]();
    });
  });

  it("counts what was dropped before it was read", async () => {
    const readOutput = (): Reply[] => [chunk("ab", 0), chunk("z", 100), exit({ stdoutBytes: 5n })];
    await withGuest({ readOutput }, async (_, connection) => {
      const process = await startProcess(connection, spec);
      expect((await read(process)).map(({ droppedBefore }) => droppedBefore)).toEqual([0, 98]);
      expect(await process.exit).toMatchObject({ stdoutBytes: 101, stdoutDroppedBytes: 98 });
    });
  });

  it("passes on why a command cannot be started", async () => {
    const start = (): object => {
      throw new ConnectError("x", Code.NotFound, undefined, [
        { desc: ErrorDetailSchema, value: { code: "COMMAND_NOT_FOUND", message: "no command nope" } },
      ]);
    };
    await withGuest({ start }, async (_, connection) => {
      await expect(startProcess(connection, spec)).rejects.toEqual(code("COMMAND_NOT_FOUND"));
    });
  });

  it("stops reading when it is aborted, left or disposed of", async () => {
    const readOutput: ReadOutput = async function* () {
      yield chunk("abc", 0);
      await new Promise(() => undefined);
    };
    await withGuest({ readOutput }, async (_, connection) => {
      const abort = new AbortController();
      const aborted = await startProcess(connection, spec, { signal: abort.signal });
      setTimeout(() => abort.abort(), 20);
      await expect(read(aborted)).rejects.toEqual(code("CANCELLED"));
      const left = await startProcess(connection, spec);
      for await (const piece of left.output) {
        expect(piece.offset).toBe(0);
        break;
      }
      await expect(left.exit).rejects.toEqual(code("CANCELLED"));
      const disposed = await startProcess(connection, spec);
      const reading = read(disposed);
      await Promise.all([
        expect(reading).rejects.toEqual(code("CANCELLED")),
        new Promise((resolve) => setTimeout(resolve, 20)).then(() => disposed[Symbol.asyncDispose]()),
      ]);
    });
  });
});

describe("the standard input of a process", () => {
  const taking = (takeEach: (text: string) => void): NonNullable<Script["writeInput"]> => async (messages) => {
    let acceptedBytes = 0n;
    for await (const { data, end, processId } of messages) {
      acceptedBytes += BigInt(data.length);
      takeEach(`${processId}:${Buffer.from(data).toString()}${end ? "!" : ""}`);
    }
    return { acceptedBytes };
  };

  it("arrives in order and ends", async () => {
    const seen: string[] = [];
    await withGuest({ writeInput: taking((each) => seen.push(each)) }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      expect(await process.writeInput(Buffer.from("one"))).toBe(true);
      expect(await process.writeInput(Buffer.from("two"))).toBe(true);
      // Longer than a call lingers: the next write is a call of its own.
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(await process.writeInput(Buffer.from("three"))).toBe(true);
      await process.endInput();
      expect(seen).toEqual(["p1:one", ":two", "p1:three", ":!"]);
      expect(await process.writeInput(Buffer.from("late"))).toBe(false);
      await process.endInput();
    });
  });

  it("is cut into chunks and waits for its reader", async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let largest = 0;
    const writeInput: Script["writeInput"] = async (messages) => {
      await held;
      let acceptedBytes = 0n;
      for await (const { data } of messages) {
        largest = Math.max(largest, data.length);
        acceptedBytes += BigInt(data.length);
      }
      return { acceptedBytes };
    };
    await withGuest({ writeInput }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      let isDone = false;
      const writing = process.writeInput(Buffer.alloc(20_000_000)).then(() => (isDone = true));
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(isDone).toBe(false);
      release();
      await writing;
      await process.endInput();
      expect(largest).toBe(LIMITS.bulkChunkBytes);
    });
  });

  it("tells when the command takes no more", async () => {
    const writeInput: Script["writeInput"] = async (messages) => {
      for await (const { data } of messages) return { acceptedBytes: BigInt(data.length) - 1n, closedByProcess: true };
      return {};
    };
    await withGuest({ writeInput }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      while (await process.writeInput(Buffer.from("more"))) await new Promise((resolve) => setTimeout(resolve, 1));
      expect(await process.writeInput(Buffer.from("late"))).toBe(false);
      await process.endInput();
      const closed = await startProcess(connection, spec);
      expect(await closed.writeInput(Buffer.from("x"))).toBe(false);
    });
  });

  it("fails when the port goes away in the middle, or the agent miscounts", async () => {
    await withGuest({ writeInput: () => new Promise(() => undefined) }, async (guest, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      const ending = process.endInput();
      setTimeout(() => guest.hangUp(), 20);
      await expect(ending).rejects.toEqual(code("GUEST_DISCONNECTED"));
      await expect(process.writeInput(Buffer.from("x"))).rejects.toEqual(code("GUEST_DISCONNECTED"));
    });
    await withGuest({ writeInput: () => Promise.resolve({ acceptedBytes: 77n }) }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      await expect(process.endInput()).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
    });
  });
});

describe("a command for the guest", () => {
  const nothing = undefined as unknown as GuestConnection;
  it.each<[string, Partial<ProcessSpec>, string]>([
    ["no argument", { argv: [] }, "INVALID_ARGUMENT"],
    ["an empty program name", { argv: [""] }, "INVALID_ARGUMENT"],
    ["a NUL in an argument", { argv: ["a", "b\0c"] }, "INVALID_ARGUMENT"],
    ["a NUL in the environment", { env: ["A=\0"] }, "INVALID_ARGUMENT"],
    ["an environment entry without =", { env: ["A"] }, "INVALID_ARGUMENT"],
    ["an empty environment name", { env: ["=A"] }, "INVALID_ARGUMENT"],
    ["an environment name that begins with =", { env: ["=A=B"] }, "INVALID_ARGUMENT"],
    ["a relative working directory", { cwd: "tmp" }, "INVALID_ARGUMENT"],
    ["a working directory with a NUL", { cwd: "/\0" }, "INVALID_ARGUMENT"],
    ["a working directory that is too long", { cwd: `/${"x".repeat(4095)}` }, "INVALID_ARGUMENT"],
    ["an argument of 131,072 bytes", { argv: ["a", "x".repeat(131_072)] }, "ARGUMENT_TOO_LARGE"],
    ["an environment entry of 131,072 bytes", { env: [`A=${"x".repeat(131_070)}`] }, "ARGUMENT_TOO_LARGE"],
    ["more than 2 MiB in all", { argv: Array.from({ length: 17 }, () => "x".repeat(131_000)) }, "ARGUMENT_TOO_LARGE"],
    ["more than 100,000 strings", { argv: Array.from({ length: 100_001 }, () => "x") }, "ARGUMENT_TOO_LARGE"],
  ])("with %s is refused before anything is sent", async (_, bad, expected) => {
    await expect(startProcess(nothing, { ...spec, ...bad })).rejects.toMatchObject({ code: expected, hint: /./ });
  });

  it("may use the whole room, and bytes that are no UTF-8", async () => {
    let started: StartRequest | undefined;
    const start = (request: StartRequest): object => {
      started = request;
      return { pid: 1 };
    };
    await withGuest({ start }, async (_, connection) => {
      const argv = ["a", "x".repeat(131_071), Uint8Array.of(0xff, 0xfe)];
      await startProcess(connection, { ...spec, argv, env: ["A=B=C", "A=", "A=B"] });
      expect(started?.argv.map(({ length }) => length)).toEqual([1, 131_071, 2]);
      expect(Buffer.from(started?.argv[2] ?? []).toString("hex")).toBe("fffe");
      expect(started?.env.map((entry) => Buffer.from(entry).toString())).toEqual(["A=B=C", "A=", "A=B"]);
    });
  });

  it("runs as root, in a directory that is there, unless it says otherwise", async () => {
    const started: StartRequest[] = [];
    const start = (request: StartRequest): object => {
      started.push(request);
      return { pid: 1 };
    };
    await withGuest({ start }, async (_, connection) => {
      await startProcess(connection, spec);
      await startProcess(connection, { ...spec, user: "app:staff", makeCwd: true });
      expect(started).toMatchObject([
        { user: "", makeCwd: false },
        { user: "app:staff", makeCwd: true },
      ]);
    });
  });
});

describe("an agent that lies about a process", () => {
  const run = async (...replies: Reply[]): Promise<{ pieces: OutputPiece[]; process: GuestProcess }> => {
    let result: { pieces: OutputPiece[]; process: GuestProcess } | undefined;
    await withGuest({ readOutput: () => replies }, async (_, connection) => {
      const process = await startProcess(connection, spec);
      result = { pieces: await read(process), process };
    });
    if (result === undefined) throw new Error("unreachable");
    return result;
  };

  it.each([
    ["code 256", { code: 256 }, { exitCode: 255, signal: undefined }],
    ["code -1", { code: 0xffffffff }, { exitCode: 255, signal: undefined }],
    ["a signal that is none", { signal: "\u001b[2J" }, { exitCode: 255, signal: undefined }],
    ["a signal and a code", { code: 4, signal: "SIGKILL" }, { exitCode: undefined, signal: "SIGKILL" }],
    ["an endless duration", { durationUs: 2n ** 64n - 1n }, { exitCode: 0, durationUs: Number.MAX_SAFE_INTEGER }],
  ])("gets %s normalised", async (_, status, expected) => {
    const { process } = await run(exit(status));
    expect(await process.exit).toMatchObject(expected);
  });

  it("is not listened to after the exit", async () => {
    const { pieces, process } = await run(chunk("a", 0), exit({ code: 1 }), exit({ code: 2 }), chunk("b", 1), exit());
    expect(text(pieces)).toBe("a");
    expect((await process.exit).exitCode).toBe(1);
  });

  it.each<[string, Reply[]]>([
    ["ends without an exit", [chunk("a", 0)]],
    ["writes at an offset that cannot be", [chunk("a", 2 ** 53)]],
    ["writes on an unknown stream", [chunk("a", 0, OutputStream.UNSPECIFIED), exit()]],
    ["sends messages that say nothing, for ever", Array.from({ length: 1_100 }, () => chunk("", 0))],
    ["repeats what was read, for ever", Array.from({ length: 1_100 }, () => chunk("a", 0))],
  ])("breaks the protocol when it %s", async (_, replies) => {
    await expect(run(...replies)).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
  });

  it("breaks the protocol when it runs a command without having started it", async () => {
    const routes: FakeGuestScript["routes"] = (router) =>
      router.service(ProcessService, {
        run: async function* () {
          yield exit();
        },
      });
    await using guest = await FakeGuest.start({ capabilities: ["run"], routes });
    await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
    await expect(startProcess(connection, spec)).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
  });
});
