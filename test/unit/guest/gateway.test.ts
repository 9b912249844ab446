import { toBinary, create } from "@bufbuild/protobuf";
import { afterEach, describe, expect, it } from "vitest";
import { HEADER_BYTES } from "../../../src/guest/frame.js";
import { connectGuest, type ConnectTarget, type GatewayHandlers, type GuestConnection, type IncomingStream } from "../../../src/guest/index.js";
import { FLAG, KIND, PACKET_HEADER_BYTES, putPacketHeader } from "../../../src/guest/packet.js";
import { dataBegin, FINISHED_MESSAGE } from "../../../src/guest/stream.js";
import { sleep } from "../../../src/kit/index.js";
import {
  AddressFamily,
  ConnectRequestSchema,
  DialResponseSchema,
  NetworkService,
  RefusedBecause,
  ResolveFailure,
  type DialRequest,
} from "../../../src/protocol/gen/pyro/guest/v1/network_pb.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { FakeGuest, type FakeSession } from "../../fakes/fake-guest.js";

const WEB = [203, 0, 113, 7];
/** The message that carries these bytes. */
const dataMessage = (data: Uint8Array): Buffer => Buffer.concat([dataBegin(data.length), data]);
const code = (expected: string): unknown => expect.objectContaining({ code: expected });
const defects: unknown[] = [];
const handlers = (some: Partial<GatewayHandlers>): GatewayHandlers => ({
  resolve: () => Promise.reject(new Error("nobody resolves")),
  connect: () => Promise.reject(new Error("nobody connects")),
  onDefect: (error) => defects.push(error),
  ...some,
});

let guest: FakeGuest;
let connection: GuestConnection;

async function connected(some: Partial<GatewayHandlers> | undefined, use: (session: FakeSession) => Promise<void>): Promise<void> {
  guest = await FakeGuest.start();
  connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  if (some !== undefined) connection.serveGateway(handlers(some));
  await use(guest.session);
}

afterEach(async () => {
  await connection[Symbol.asyncDispose]();
  await guest.untilHostsLeft();
  await guest[Symbol.asyncDispose]();
});

/** Gives back what comes, and ends when the program does. */
async function echo(_target: ConnectTarget, stream: IncomingStream): Promise<void> {
  await stream.open();
  for (let data = await stream.read(); data !== undefined; data = await stream.read()) await stream.write(data);
  await stream.finish();
}

/** Serves until the program is gone, and reads nothing. */
async function untilBroken(_target: ConnectTarget, stream: IncomingStream): Promise<void> {
  await stream.open();
  if (!stream.broken.aborted) await new Promise((resolve) => stream.broken.addEventListener("abort", resolve));
}

async function settled(count: () => number): Promise<number> {
  let before = -1;
  while (before !== count()) {
    before = count();
    await sleep(30);
  }
  return before;
}

describe("names that the agent asks for", () => {
  it("are answered with addresses, a failure, or nothing of the family", async () => {
    const asked: unknown[] = [];
    await connected(
      {
        resolve: (query) => {
          asked.push(query);
          if (query.name === "example.test") return Promise.resolve({ addresses: [Uint8Array.from(WEB)], ttlSeconds: 60 });
          return Promise.resolve(query.name === "none.test" ? { addresses: [], ttlSeconds: 5 } : { failure: "not-found" as const });
        },
      },
      async ({ gateway }) => {
        const answer = await gateway.resolve({ name: "example.test", family: AddressFamily.IPV4 });
        expect(answer).toMatchObject({ addresses: [Buffer.from(WEB)], ttlSeconds: 60, failure: 0 });
        const none = await gateway.resolve({ name: "none.test", family: AddressFamily.IPV6 });
        expect(none).toMatchObject({ addresses: [], failure: ResolveFailure.UNSPECIFIED });
        const missing = await gateway.resolve({ name: "missing.test", family: AddressFamily.IPV4 });
        expect(missing.failure).toBe(ResolveFailure.NOT_FOUND);
        expect(asked[1]).toEqual({ name: "none.test", family: "ipv6" });
      },
    );
  });

  it("are refused while nobody serves the gateway", async () => {
    await connected(undefined, async (session) => {
      const answer = await session.gateway.resolve({ name: "example.test", family: AddressFamily.IPV4 });
      expect(answer.failure).toBe(ResolveFailure.REFUSED);
      const refused = await session.connect(WEB, 80);
      expect(refused.answer).toMatchObject({ case: "refused", value: { because: RefusedBecause.POLICY } });
      await refused.ended();
    });
  });

  it("are given up when the agent's deadline is over, and when it leaves", async () => {
    const left: string[] = [];
    await connected(
      {
        resolve: ({ name }, signal) =>
          new Promise((_, reject) => {
            signal.addEventListener("abort", () => {
              left.push(name);
              reject(signal.reason as Error);
            });
          }),
      },
      async ({ gateway }) => {
        const late = gateway.resolve({ name: "late.test", family: AddressFamily.IPV4 }, { timeoutMs: 40 });
        await expect(late).rejects.toThrow();
        const abort = new AbortController();
        const away = gateway.resolve({ name: "away.test", family: AddressFamily.IPV4 }, { signal: abort.signal });
        await sleep(20);
        abort.abort();
        await expect(away).rejects.toThrow();
        await expect.poll(() => left).toEqual(["late.test", "away.test"]);
      },
    );
  });

  it("fail without a word of what failed on the host", async () => {
    await connected({}, async ({ gateway }) => {
      const asking = gateway.resolve({ name: "a.test", family: AddressFamily.IPV4 });
      await expect(asking).rejects.toThrow("the host failed");
      expect(defects).toEqual([new Error("nobody resolves")]);
    });
  });
});

describe("connections that the agent asks for", () => {
  it("carry bytes both ways, and end when both sides have", async () => {
    const targets: ConnectTarget[] = [];
    await connected(
      {
        connect: async (target, stream) => {
          targets.push(target);
          await echo(target, stream);
        },
      },
      async (session) => {
        const { answer, stream, ended } = await session.connect(WEB, 443, "command-7");
        expect(answer.case).toBe("opened");
        expect(targets).toEqual([{ address: Uint8Array.from(WEB), port: 443, openedBy: "command-7" }]);
        const sent = Buffer.alloc(3_000_000, "0123456789");
        const writing = (async () => {
          for (let at = 0; at < sent.length; at += 50_000) await stream.write(sent.subarray(at, at + 50_000));
          await stream.finish();
        })();
        const got: Uint8Array[] = [];
        for (let data = await stream.read(); data !== undefined; data = await stream.read()) got.push(data);
        await writing;
        expect(Buffer.concat(got).equals(sent)).toBe(true);
        await ended();
      },
    );
  });

  it("cut what a socket gives into even pieces, none larger than a frame", async () => {
    const chunk = Buffer.alloc(65_536, 7);
    await connected(
      {
        connect: async (_target, stream) => {
          await stream.open();
          await stream.write(chunk);
          await stream.finish();
          await stream.read();
        },
      },
      async (session) => {
        const { stream, ended } = await session.connect(WEB, 80);
        expect((await stream.read())?.length).toBe(32_768);
        expect((await stream.read())?.length).toBe(32_768);
        expect(await stream.read()).toBeUndefined();
        await stream.finish();
        await ended();
      },
    );
  });

  it("tell a refusal, and are over with it", async () => {
    await connected(
      { connect: async (_target, stream) => await stream.refuse("timed-out", "no answer within 15 s") },
      async (session) => {
        const { answer, ended } = await session.connect(WEB, 80);
        const value = { because: RefusedBecause.TIMED_OUT, message: "no answer within 15 s" };
        expect(answer).toMatchObject({ case: "refused", value });
        await ended();
      },
    );
  });

  it("are reset by the host with a word, and by the program", async () => {
    let stream: IncomingStream | undefined;
    let seen: unknown;
    await connected(
      {
        connect: async (_target, its) => {
          stream = its;
          await its.open();
          seen = await its.read().catch((error: unknown) => error);
        },
      },
      async (session) => {
        const one = await session.connect(WEB, 80);
        stream?.reset("the policy changed");
        await expect(one.ended()).rejects.toThrow("the policy changed");
        const two = await session.connect(WEB, 80);
        two.stream.reset("");
        await expect.poll(() => stream?.broken.aborted).toBe(true);
        expect(seen).toEqual(code("CANCELLED"));
      },
    );
  });

  it("hold back a program whose server takes nothing, one byte at a time too", async () => {
    await connected({ connect: untilBroken }, async (session) => {
      for (const size of [30_000, 1]) {
        const { stream } = await session.connect(WEB, 80);
        let sent = 0;
        const writing = (async () => {
          for (;;) {
            await stream.write(new Uint8Array(size));
            sent += size;
          }
        })().catch(() => undefined);
        expect(await settled(() => sent)).toBeLessThanOrEqual(size === 1 ? 1025 : LIMITS.networkWindowBytes + size);
        expect(sent).toBeGreaterThanOrEqual(size === 1 ? 1000 : LIMITS.networkWindowBytes - size);
        stream.reset("");
        await writing;
      }
      expect((await connection.system.ping({})).$typeName).toBeDefined();
    });
  });

  it("are held back by a program that reads nothing, and beside others", async () => {
    let given = 0;
    await connected(
      {
        connect: async (target, stream) => {
          if (target.port === 80) {
            await echo(target, stream);
            return;
          }
          await stream.open();
          for (;;) {
            await stream.write(Buffer.alloc(50_000));
            given += 50_000;
          }
        },
      },
      async (session) => {
        const stuck = await session.connect(WEB, 81);
        const most = LIMITS.networkWindowBytes + 50_000;
        expect(await settled(() => given)).toBeLessThanOrEqual(most);
        const { stream } = await session.connect(WEB, 80);
        await stream.write(Buffer.from("hello"));
        expect(Buffer.from((await stream.read()) ?? []).toString()).toBe("hello");
        stuck.stream.reset("");
        stream.reset("");
      },
    );
  });

  it("end when this side resets them, though the agent does not read its port", async () => {
    const streams: IncomingStream[] = [];
    const writing: Promise<void>[] = [];
    let given = 0;
    await connected(
      {
        connect: async (_target, stream) => {
          streams.push(stream);
          await stream.open();
          const write = async (): Promise<void> => {
            for (;;) {
              await stream.write(Buffer.alloc(50_000));
              given += 50_000;
            }
          };
          writing.push(write());
          await writing.at(-1)?.catch(() => undefined);
        },
      },
      async (session) => {
        session.socket.pause();
        const connects = Array.from({ length: 8 }, () => session.connect(WEB, 80));
        await expect.poll(() => streams.length).toBe(8);
        expect(await settled(() => given)).toBeLessThan(8 * LIMITS.networkWindowBytes - 50_000);
        for (const stream of streams) stream.reset("over");
        for (const one of writing) await expect(one).rejects.toThrow("over");
        session.socket.resume();
        await Promise.all(connects);
      },
    );
  });

  it("are bounded in number", async () => {
    await connected({ connect: untilBroken }, async (session) => {
      const all = await Promise.all(Array.from({ length: LIMITS.networkCalls }, () => session.connect(WEB, 80)));
      await expect(session.connect(WEB, 80)).rejects.toThrow("640 calls at once");
      all[0]?.stream.reset("");
      await expect.poll(async () => (await session.connect(WEB, 80).catch(() => undefined))?.answer.case).toBe("opened");
    });
  });

  it("end with the connection to the agent", async () => {
    const reasons: unknown[] = [];
    await connected(
      {
        connect: async (_target, stream) => {
          await stream.open();
          await stream.read().catch((error: unknown) => reasons.push(error));
        },
      },
      async (session) => {
        await Promise.all(Array.from({ length: 5 }, () => session.connect(WEB, 80)));
        guest.hangUp();
        await expect.poll(() => reasons).toEqual(Array.from({ length: 5 }, () => code("GUEST_DISCONNECTED")));
      },
    );
  });
});

function packet(kind: number, flags: number, id: number, body: Uint8Array, name = ""): Buffer {
  const head = Buffer.alloc(HEADER_BYTES + PACKET_HEADER_BYTES);
  putPacketHeader(head, HEADER_BYTES, { kind, flags, id, nameLength: name.length });
  const begin = kind === KIND.call ? Buffer.concat([Buffer.alloc(4), Buffer.from(name)]) : Buffer.alloc(0);
  return Buffer.concat([head, begin, body]);
}

describe("an agent that lies on the network channel", () => {
  const open = toBinary(
    ConnectRequestSchema,
    create(ConnectRequestSchema, { part: { case: "open", value: { address: Uint8Array.from(WEB), port: 80 } } }),
  );
  const connect = "pyro.guest.v1.GatewayService/Connect";
  const begin = packet(KIND.call, FLAG.withMessage, 1, open, connect);
  const target = (address: number[], port: number): Buffer => {
    const value = { address: Uint8Array.from(address), port };
    const message = create(ConnectRequestSchema, { part: { case: "open", value } });
    return packet(KIND.call, FLAG.withMessage, 1, toBinary(ConnectRequestSchema, message), connect);
  };
  const flood = Array.from({ length: 9 }, () => packet(KIND.message, 0, 1, dataMessage(new Uint8Array(40_000))));
  const crumbs = Array.from({ length: 1100 }, () => packet(KIND.message, 0, 1, new Uint8Array(0)));
  const lies: Record<string, readonly Buffer[]> = {
    "a second call with an id in use": [begin, begin],
    "more than it has credit for": [begin, ...flood],
    "more empty messages than credit": [begin, ...crumbs],
    "a message too large": [begin, ...Array.from({ length: 3 }, () => packet(KIND.message, FLAG.more, 1, new Uint8Array(60_000)))],
    "no protobuf": [packet(KIND.call, FLAG.withMessage, 1, Buffer.from("garbage"), connect)],
    "data in place of a target": [packet(KIND.call, FLAG.withMessage, 1, dataMessage(Uint8Array.of(1)), connect)],
    "no message at all": [packet(KIND.call, FLAG.last, 1, Buffer.alloc(0), connect)],
    "an address of 5 bytes": [target([1, 2, 3, 4, 5], 80)],
    "the port 0": [target(WEB, 0)],
    "the port 65536": [target(WEB, 65_536)],
    "a second target": [begin, packet(KIND.message, 0, 1, open)],
    "an end with bytes": [begin, packet(KIND.end, 0, 1, Uint8Array.of(1))],
    "a call cut off": [packet(KIND.call, 0, 1, Buffer.alloc(0), "").subarray(0, HEADER_BYTES + PACKET_HEADER_BYTES + 2)],
  };
  for (const [what, packets] of Object.entries(lies)) {
    it(`ends its session: ${what}`, async () => {
      const serve = what === "a second target" ? echo : untilBroken;
      await connected({ connect: serve }, async (session) => {
        for (const each of packets) session.send("network", Buffer.from(each));
        expect(await connection.closed).toEqual(code("GUEST_PROTOCOL_ERROR"));
      });
    });
  }

  it("may talk of calls that are over", async () => {
    await connected({ connect: echo }, async (session) => {
      session.send("network", packet(KIND.message, 0, 9, Uint8Array.of(1)));
      session.send("network", packet(KIND.cancel, 0, 9, Buffer.alloc(0)));
      session.send("network", packet(KIND.end, 0, 9, Buffer.alloc(0)));
      await expect(session.gatewayCaller.open({ name: "no/Such", timeoutMs: 0, signal: undefined, message: undefined, isLast: true }).call.next()).rejects.toThrow(
        "no such method",
      );
      const { stream, ended } = await session.connect(WEB, 80);
      session.send("network", packet(KIND.end, 0, 2, Buffer.alloc(0)));
      expect(await stream.read()).toBeUndefined();
      await ended();
    });
  });
});

describe("a connection into the guest", () => {
  const dialled = async (
    serve: (requests: AsyncIterable<DialRequest>) => AsyncGenerator<object>,
    use: () => Promise<void>,
  ): Promise<void> => {
    const answers = DialResponseSchema;
    expect(answers.typeName).toBe("pyro.guest.v1.DialResponse");
    guest = await FakeGuest.start({
      routes: (router) => router.service(NetworkService, { dial: serve as never, configure: () => ({}) }),
    });
    connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
    await use();
    await expect.poll(() => guest.session.bulk.callCount).toBe(0);
  };

  it("carries bytes both ways, and ends when both sides have", async () => {
    const ports: unknown[] = [];
    await dialled(
      async function* (requests) {
        for await (const { part } of requests) {
          if (part.case === "open") {
            ports.push(part.value);
            yield { part: { case: "opened", value: {} } };
          } else if (part.case === "data") yield { part: { case: "data", value: part.value } };
          else {
            yield { part: { case: "finished", value: {} } };
            return;
          }
        }
      },
      async () => {
        await connection.network.configure({ egress: true });
        const stream = await connection.dial(8080);
        await stream.write(Buffer.from("hello"));
        expect(Buffer.from((await stream.read()) ?? []).toString()).toBe("hello");
        await stream.finish();
        expect(await stream.read()).toBeUndefined();
        await stream.leave();
        expect(ports).toEqual([8080]);
      },
    );
  });

  it("says when nobody listens, and gives up when it is told to", async () => {
    let left = 0;
    await dialled(
      async function* (requests) {
        for await (const { part } of requests) {
          if (part.case === "open" && part.value === 1) {
            yield { part: { case: "refused", value: { because: RefusedBecause.REFUSED, message: "no" } } };
            return;
          }
          try {
            await new Promise((resolve) => setTimeout(resolve, 50));
          } finally {
            left += 1;
          }
        }
      },
      async () => {
        await expect(connection.dial(1)).rejects.toEqual(code("GUEST_PORT_REFUSED"));
        const abort = new AbortController();
        const dialling = connection.dial(2, abort.signal);
        await sleep(10);
        const reason = new Error("enough");
        abort.abort(reason);
        await expect(dialling).rejects.toBe(reason);
        await expect.poll(() => left).toBe(1);
      },
    );
  });

  it("is reset by leaving it, and breaks with the agent's reset", async () => {
    await dialled(
      async function* (requests) {
        for await (const { part } of requests) {
          if (part.case === "open") yield { part: { case: "opened", value: {} } };
          if (part.case === "data") throw new Error("reset");
        }
      },
      async () => {
        const one = await connection.dial(3);
        await one.leave();
        const two = await connection.dial(3);
        const { broken } = two;
        await two.write(Uint8Array.of(1));
        await expect(two.read()).rejects.toThrow();
        expect(broken.aborted).toBe(true);
        await two.leave();
      },
    );
  });
});

describe("the message of a stream's bytes", () => {
  it("is what the schema makes of them", () => {
    for (const size of [0, 1, 127, 128, 16_383, 16_384, 70_000]) {
      const data = new Uint8Array(size).fill(9);
      const message = create(ConnectRequestSchema, { part: { case: "data", value: data } });
      expect(dataMessage(data).equals(toBinary(ConnectRequestSchema, message))).toBe(true);
    }
    const finished = create(ConnectRequestSchema, { part: { case: "finished", value: {} } });
    expect(FINISHED_MESSAGE).toEqual(toBinary(ConnectRequestSchema, finished));
  });
});
