import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it, vi } from "vitest";
import {
  connectGuest,
  startProcess,
  type GuestConnection,
  type OutputPiece,
} from "../../../src/guest/index.js";
import { ErrorDetailSchema, OutputStream } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import type { FakeGuest } from "../../fakes/fake-guest.js";
import {
  chunk,
  code,
  exit,
  read,
  spec,
  text,
  withGuest as withProcesses,
  type ProcessScript,
  type ReadOutput,
  type Reply,
} from "../../fakes/scripted-process.js";

describe.each([
  ["an agent that runs in one exchange", true],
  ["an older agent", false],
])("a process in the guest, %s", (_, runs) => {
  const withGuest = (
    script: ProcessScript,
    use: (guest: FakeGuest, connection: GuestConnection) => Promise<void>,
  ): Promise<void> => withProcesses({ ...script, runs }, use);

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
      expect(start).toHaveBeenCalledWith(
        expect.objectContaining({ processId: "p1", timeoutMs: 5, outputPolicy: 2 }),
      );
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
