import { Code, ConnectError } from "@connectrpc/connect";
import { createHash } from "node:crypto";
import { describe, expect, it, vi } from "vitest";
import { CHANNEL, HEADER_BYTES, MAX_PAYLOAD_BYTES, dataHeader } from "../../../src/guest/frame.js";
import { connectGuest, type GuestConnection } from "../../../src/guest/index.js";
import { FLAG, KIND, PACKET_HEADER_BYTES, putPacketHeader } from "../../../src/guest/packet.js";
import { PyroError } from "../../../src/protocol/index.js";
import { ErrorDetailSchema, FileService, ProcessService, SystemService } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { FakeGuest, type FakeGuestScript } from "../../fakes/fake-guest.js";

async function connected(
  script: FakeGuestScript,
  use: (connection: GuestConnection, guest: FakeGuest) => Promise<void>,
): Promise<void> {
  await using guest = await FakeGuest.start(script);
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  await use(connection, guest);
}

/** A packet with room for the link's header; a negative count is that many bytes of ones. */
function packet(kind: number, flags: number, id: number, bytes: number): Buffer {
  const frame = Buffer.alloc(HEADER_BYTES + PACKET_HEADER_BYTES + Math.abs(bytes), bytes < 0 ? 1 : 0);
  if (kind === KIND.end && bytes > 0) frame.fill(0xff);
  putPacketHeader(frame, HEADER_BYTES, { kind, flags, id });
  return frame;
}

const code = (expected: string) => expect.objectContaining({ code: expected }) as PyroError;

describe("a connection to the guest", () => {
  it("greets the agent and calls its services", async () => {
    await connected({}, async (connection, guest) => {
      expect(connection.hello.agentVersion).toBe("fake");
      expect(connection.epoch).toBe(guest.session.epoch);
      await connection.system.ping({});
      await connection.diagnostics.flood({ bytes: 0n });
      expect(connection.counters).toEqual({ skippedBytes: 0, droppedFrames: 0 });
    });
  });

  it("tells what the agent reports", async () => {
    await using guest = await FakeGuest.start();
    const events = { agentReady: vi.fn(), processExited: vi.fn(), outOfMemory: vi.fn() };
    await using connection = await connectGuest(guest.path, { timeoutMs: 5_000, events });
    const { epoch } = connection;
    await guest.session.events.report({ event: { case: "agentReady", value: { epoch } } });
    await guest.session.events.report({ event: { case: "processExited", value: { processId: "a" } } });
    await guest.session.events.report({ event: { case: "outOfMemory", value: { processId: "b" } } });
    await guest.session.events.report({});
    expect(events.agentReady).toHaveBeenCalledWith(expect.objectContaining({ epoch }));
    expect(events.processExited).toHaveBeenCalledWith(expect.objectContaining({ processId: "a" }));
    expect(events.outOfMemory).toHaveBeenCalledWith(expect.objectContaining({ processId: "b" }));
  });

  it("finds the answer behind a stale tail that announces more than it holds", async () => {
    const staleBytes = Buffer.concat([
      Buffer.alloc(100, 0x50),
      dataHeader(CHANNEL.control, 77, MAX_PAYLOAD_BYTES),
      Buffer.alloc(500, 1),
    ]);
    await connected({ staleBytes }, async (connection) => {
      await connection.system.ping({});
      expect(connection.counters.skippedBytes).toBe(staleBytes.length);
    });
  });

  it("drops frames of other epochs and skips what is no frame", async () => {
    const foreign = Buffer.concat([dataHeader(CHANNEL.control, 77, 3), Buffer.from("abc"), Buffer.from("garbage")]);
    await connected({ afterHello: () => foreign }, async (connection) => {
      await connection.system.ping({});
      expect(connection.counters).toEqual({ skippedBytes: 7, droppedFrames: 1 });
    });
  });

  it("carries large streams whole, both ways", async () => {
    const chunk = Buffer.alloc(300_000, "pyro");
    const routes: FakeGuestScript["routes"] = (router) =>
      router.service(FileService, {
        read: async function* () {
          for (let count = 0; count < 40; count += 1) yield { data: chunk };
        },
        write: async (messages) => {
          const hash = createHash("sha256");
          let bytes = 0n;
          for await (const { data } of messages) {
            hash.update(data);
            bytes += BigInt(data.length);
          }
          expect(hash.digest("hex")).toBe(expected);
          return { bytesWritten: bytes };
        },
      });
    const whole = createHash("sha256");
    for (let count = 0; count < 40; count += 1) whole.update(chunk);
    const expected = whole.digest("hex");
    await connected({ routes }, async (connection) => {
      const hash = createHash("sha256");
      for await (const { data } of connection.file.read({})) hash.update(data);
      expect(hash.digest("hex")).toBe(expected);
      const source = async function* (): AsyncGenerator<{ data: Uint8Array }> {
        for (let count = 0; count < 40; count += 1) yield { data: chunk };
      };
      expect((await connection.file.write(source())).bytesWritten).toBe(12_000_000n);
    });
  });

  it("measures the link with its probe channel", async () => {
    await connected({}, async (connection) => {
      const received = connection.probeReceived(1_000_000);
      await connection.diagnostics.flood({ bytes: 1_000_000n });
      await received;
      await connection.probeReceived(10);
      await connection.floodProbe(500_000);
      expect((await connection.diagnostics.drain({ expectBytes: 500_000n })).bytes).toBe(500_000n);
    });
  });

  it("gives the agent's own error with its code and hint", async () => {
    const failure = new ConnectError("no such file", Code.NotFound, undefined, [
      { desc: ErrorDetailSchema, value: { code: "GUEST_FILE_NOT_FOUND", message: "no file /x", hint: "look for it" } },
    ]);
    const routes: FakeGuestScript["routes"] = (router) =>
      router
        .service(FileService, {
          read: async function* () {
            throw failure;
          },
        })
        .service(ProcessService, {
          get: () => {
            throw new ConnectError("x", Code.NotFound, undefined, [
              { desc: ErrorDetailSchema, value: { code: "FROM_THE_FUTURE", message: "new" } },
            ]);
          },
          list: () => {
            throw new ConnectError("plain", Code.FailedPrecondition);
          },
        });
    await connected({ routes }, async (connection) => {
      const read = connection.file.read({})[Symbol.asyncIterator]().next();
      await expect(read).rejects.toMatchObject({ code: "GUEST_FILE_NOT_FOUND", message: "no file /x", hint: "look for it" });
      await expect(connection.control.get({})).rejects.toMatchObject({
        code: "INTERNAL",
        details: { peer_code: "FROM_THE_FUTURE" },
      });
      await expect(connection.control.list({})).rejects.toEqual(code("INTERNAL"));
      await expect(connection.control.signal({})).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
    });
  });

  it("fails what is pending when the port goes away", async () => {
    await using guest = await FakeGuest.start({
      routes: (router, session) =>
        router.service(SystemService, {
          hello: () => ({ agentVersion: "fake", epoch: session.epoch }),
          ping: () => new Promise(() => undefined),
        }),
    });
    await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
    const pending = connection.system.ping({});
    const probe = connection.probeReceived(1);
    guest.hangUp();
    await expect(pending).rejects.toEqual(code("GUEST_DISCONNECTED"));
    await expect(probe).rejects.toEqual(code("GUEST_DISCONNECTED"));
    await expect(connection.closed).resolves.toEqual(code("GUEST_DISCONNECTED"));
    await expect(connection.system.ping({})).rejects.toEqual(code("GUEST_DISCONNECTED"));
    await expect(connection.probeReceived(1)).rejects.toEqual(code("GUEST_DISCONNECTED"));
  });

  it("leaves nothing open when it is disposed of", async () => {
    await using guest = await FakeGuest.start();
    const connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
    await connection[Symbol.asyncDispose]();
    await connection[Symbol.asyncDispose]();
    await guest.untilHostsLeft();
    expect(await connection.closed).toBeUndefined();
    await expect(connection.system.ping({})).rejects.toBeInstanceOf(PyroError);
  });
});

describe("connecting to the guest", () => {
  it("gives up at its deadline when nothing answers", async () => {
    await using guest = await FakeGuest.start({ answersHello: false });
    await expect(connectGuest(guest.path, { timeoutMs: 120 })).rejects.toEqual(code("VM_UNRESPONSIVE"));
    await guest.untilHostsLeft();
  });

  it("connects anew when a port stays mute", async () => {
    const script = { answersHello: false };
    await using guest = await FakeGuest.start(script);
    const connecting = connectGuest(guest.path, { timeoutMs: 10_000 });
    while (guest.sockets.length < 1) await new Promise((resolve) => setTimeout(resolve, 10));
    script.answersHello = true;
    await using connection = await connecting;
    await connection.system.ping({});
    expect(guest.sockets.map(({ closed }) => closed)).toEqual([true, false]);
  });

  it("ends at once when it is aborted", async () => {
    await using guest = await FakeGuest.start({ answersHello: false });
    const reason = new Error("the caller left");
    const abort = new AbortController();
    const connecting = connectGuest(guest.path, { signal: abort.signal });
    setTimeout(() => abort.abort(reason), 30);
    await expect(connecting).rejects.toBe(reason);
    await expect(connectGuest(guest.path, { signal: abort.signal })).rejects.toBe(reason);
  });

  it("says that there is no machine where the socket is missing", async () => {
    await expect(connectGuest("/nonexistent/agent.sock")).rejects.toEqual(code("GUEST_DISCONNECTED"));
  });

  it("refuses an agent that names another epoch", async () => {
    await using guest = await FakeGuest.start({ claimsEpoch: 12 });
    await expect(connectGuest(guest.path, { timeoutMs: 5_000 })).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
  });

  it("refuses what answers HELLO but speaks another protocol", async () => {
    const garbage = Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n".repeat(10));
    const afterHello = (epoch: number): Buffer => Buffer.concat([dataHeader(CHANNEL.control, epoch, garbage.length), garbage]);
    await using guest = await FakeGuest.start({ afterHello });
    await expect(connectGuest(guest.path, { timeoutMs: 5_000 })).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
  });
});

describe("a guest that lies", () => {
  it.each([
    ["more than it was given credit for", (id: number) => Array.from({ length: 19 }, () => packet(KIND.message, 0, id, 60_000))],
    ["a message without an end", (id: number) => Array.from({ length: 100 }, () => packet(KIND.message, FLAG.more, id, 60_000))],
    ["a packet of no kind", (id: number) => [packet(9, 0, id, 0)]],
    ["a call", (id: number) => [packet(KIND.call, 0, id, 0)]],
    ["a cancel", (id: number) => [packet(KIND.cancel, 0, id, 0)]],
    ["unknown flags", (id: number) => [packet(KIND.message, 8, id, 0)]],
    ["credit of nothing", (id: number) => [packet(KIND.credit, 0, id, 4)]],
    ["an end that is no status", (id: number) => [packet(KIND.end, 0, id, 7)]],
    ["half a packet", () => [Buffer.alloc(HEADER_BYTES + 5)]],
  ])("loses its session when it sends %s", async (_what, lies) => {
    let lie: () => void = () => undefined;
    const routes: FakeGuestScript["routes"] = (router, session) =>
      router.service(FileService, {
        read: async function* () {
          lie = () => {
            for (const frame of lies(1)) session.send("bulk", frame);
          };
          yield {};
          await new Promise(() => undefined);
        },
      });
    await connected({ routes }, async (connection, guest) => {
      const reading = connection.file.read({})[Symbol.asyncIterator]();
      await reading.next();
      lie();
      await expect(connection.closed).resolves.toEqual(code("GUEST_PROTOCOL_ERROR"));
      // What had come before may still be read; then comes the reason.
      await expect(
        (async () => {
          while ((await reading.next()).done !== true);
        })(),
      ).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
      await expect(connection.system.ping({})).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
      await guest.untilHostsLeft();
    });
  });

  it("is not heard about calls that are over", async () => {
    await connected({}, async (connection, guest) => {
      for (const kind of [KIND.message, KIND.credit, KIND.end]) guest.session.send("bulk", packet(kind, 0, 77, kind === KIND.credit ? -4 : 0));
      await connection.system.ping({});
    });
  });

  it("cannot send a message beyond the bound of a small call", async () => {
    const routes: FakeGuestScript["routes"] = (router) =>
      router.service(ProcessService, {
        list: () => ({ processes: [{ processId: "x".repeat(2_000_000) }] }),
      });
    await connected({ routes }, async (connection) => {
      await expect(connection.control.list({})).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
    });
  });

  it("cannot hold a call for ever", async () => {
    const routes: FakeGuestScript["routes"] = (router) =>
      router.service(ProcessService, { get: () => new Promise(() => undefined) });
    await connected({ routes }, async (connection) => {
      await expect(connection.control.get({}, { timeoutMs: 50 })).rejects.toEqual(code("DEADLINE_EXCEEDED"));
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 20);
      await expect(connection.control.get({}, { signal: abort.signal })).rejects.toEqual(code("CANCELLED"));
    });
  });
});
