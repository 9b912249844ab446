import { describe, expect, it } from "vitest";
import {
  connectGuest,
  GuestShells,
  type GuestConnection,
  type GuestShellPiece,
} from "../../../src/guest/index.js";
import { LIMITS, type PyroError } from "../../../src/protocol/index.js";
import { ShellIdle, ShellService } from "../../../src/protocol/gen/pyro/guest/v1/shell_pb.js";
import type { GuestRouter } from "../../fakes/fake-callee.js";
import { FakeGuest } from "../../fakes/fake-guest.js";

/** By their names; they answer with plain fields. */
type Methods = Readonly<Record<string, unknown>>;
function route(router: GuestRouter, methods: Methods): void {
  router.service(ShellService, methods);
}

/** The client of a fake agent, which serves the shells as the script says. */
async function withShells(
  methods: Methods,
  use: (shells: GuestShells, connection: GuestConnection) => Promise<void>,
): Promise<void> {
  await using guest = await FakeGuest.start({ routes: (router) => route(router, methods) });
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  const reconnect = () => Promise.reject(new Error("no reconnect is expected"));
  await use(new GuestShells({ connection: () => connection, reconnect }), connection);
}

const code = (expected: string) => expect.objectContaining({ code: expected }) as PyroError;
const broken = code("GUEST_PROTOCOL_ERROR");
const info = (more: object = {}): object => ({
  ...{ shellId: "sh-1", pid: 7, running: true, cwd: Buffer.from("/w"), cols: 80, rows: 24 },
  ...{ argv: [Buffer.from("bash")], totalBytes: 5n, firstByte: 0n, openedUnixMs: 1000n, ...more },
});
const sizes = { event: { case: "sizes", value: { sizes: [{ offset: 0n, cols: 80, rows: 24 }] } } };
const chunk = (offset: bigint, text: string): object => ({
  event: { case: "chunk", value: { offset, data: Buffer.from(text) } },
});
const end = (idle = ShellIdle.UNSPECIFIED, more: object = {}): object => ({
  event: { case: "end", value: { shell: info(more), idle } },
});

async function collect(pieces: AsyncIterable<GuestShellPiece>): Promise<GuestShellPiece[]> {
  const all = [];
  for await (const piece of pieces) all.push(piece);
  return all;
}
const reading = (messages: object[]): Methods => ({
  read: async function* () {
    yield* messages;
  },
});

describe("a shell of the guest", () => {
  it("is opened, resized, listed and closed with what the agent tells", async () => {
    const methods = {
      open: () => ({ shell: info() }),
      resize: () => ({ shell: info({ cols: 90 }) }),
      list: () => ({ shells: [info(), info({ shellId: "sh-2", running: false, exit: { code: 3 } })] }),
      close: () => ({ shell: info({ running: false, exit: { signal: "SIGHUP" } }) }),
    };
    await withShells(methods, async (shells) => {
      const spec = { shellId: "sh-1", argv: [], env: ["A=b"], cwd: "/w", cols: 80, rows: 24 };
      expect(await shells.open(spec)).toEqual({
        ...{ shellId: "sh-1", isRunning: true, exitCode: undefined, signal: undefined, argv: ["bash"] },
        ...{ cwd: "/w", cols: 80, rows: 24, totalBytes: 5, firstByte: 0, openedAtMs: 1000 },
      });
      expect(await shells.resize("sh-1", { cols: 90, rows: 24 })).toMatchObject({ cols: 90 });
      expect(await shells.list()).toMatchObject([{ isRunning: true }, { shellId: "sh-2", exitCode: 3 }]);
      expect(await shells.close("sh-1")).toMatchObject({ isRunning: false, signal: "SIGHUP" });
    });
  });

  it("takes input in parts, each with an id of its own, until one is not taken whole", async () => {
    const seen: { bytes: number; id: bigint }[] = [];
    const methods = {
      write: ({ data, writeId }: { data: Uint8Array; writeId: bigint }) => {
        seen.push({ bytes: data.length, id: writeId });
        return { acceptedBytes: BigInt(seen.length === 1 ? data.length : 10) };
      },
    };
    await withShells(methods, async (shells) => {
      const data = new Uint8Array(LIMITS.bulkChunkBytes * 3);
      expect(await shells.write("sh-1", data)).toBe(LIMITS.bulkChunkBytes + 10);
      expect(seen.map(({ bytes }) => bytes)).toEqual([LIMITS.bulkChunkBytes, LIMITS.bulkChunkBytes]);
      expect(new Set(seen.map(({ id }) => id)).size).toBe(2);
      expect(seen.every(({ id }) => id !== 0n)).toBe(true);
    });
  });

  it("is read with its sizes first and its state last", async () => {
    const messages = [sizes, chunk(2n, "ab"), chunk(10n, "c"), end(ShellIdle.INPUT)];
    await withShells(reading(messages), async (shells) => {
      const pieces = await collect(shells.read("sh-1", { offset: 0 }));
      expect(pieces).toMatchObject([
        { kind: "sizes", sizes: [{ offset: 0, cols: 80, rows: 24 }] },
        { kind: "data", offset: 2 },
        { kind: "data", offset: 10 },
        { kind: "end", idle: "input", shell: { isRunning: true } },
      ]);
    });
  });

  it("tells each byte once, also when some come again", async () => {
    await withShells(reading([sizes, chunk(0n, "abc"), chunk(1n, "bcde"), end()]), async (shells) => {
      const pieces = await collect(shells.read("sh-1", { offset: 0 }));
      const text = pieces.flatMap((piece) => (piece.kind === "data" ? [Buffer.from(piece.data).toString()] : []));
      expect(text).toEqual(["abc", "de"]);
    });
  });
});

describe("an agent that lies", () => {
  it.each([
    ["ends without a state", [sizes, chunk(0n, "x")]],
    ["tells of another shell", [sizes, end(ShellIdle.QUIET, { shellId: "sh-9" })]],
    ["tells no size", [{ event: { case: "sizes", value: { sizes: [] } } }]],
    ["counts beyond all bounds", [sizes, chunk(2n ** 60n, "x"), end()]],
    ["says nothing for ever", Array.from({ length: 1100 }, () => chunk(0n, ""))],
  ])("and %s breaks the protocol", async (_, messages) => {
    await withShells(reading(messages), async (shells) => {
      await expect(collect(shells.read("sh-1", { offset: 0 }))).rejects.toEqual(broken);
    });
  });

  it("about sizes, exits and names is brought into the range of what can be", async () => {
    const shells = [
      info({ cols: 0, rows: 99_999 }),
      info({ running: false, exit: { code: 4_000 } }),
      info({ running: false, exit: { signal: "nonsense\n" } }),
      info({ argv: [Buffer.alloc(10_000, "x")] }),
    ];
    await withShells({ list: () => ({ shells }) }, async (client) => {
      const [first, second, third, fourth] = await client.list();
      expect(first).toMatchObject({ cols: 1, rows: LIMITS.shellRowsMax });
      expect(second).toMatchObject({ exitCode: 255, signal: undefined });
      expect(third).toMatchObject({ exitCode: 255, signal: undefined });
      expect(fourth?.argv[0]?.length).toBe(4096);
    });
  });

  it("and took more input than it was sent is not believed", async () => {
    await withShells({ write: () => ({ acceptedBytes: 9n }) }, async (shells) => {
      await expect(shells.write("sh-1", Buffer.from("x"))).rejects.toEqual(broken);
    });
  });
});

describe("a lost connection", () => {
  it("is replaced once for all that wait, and reading goes on where it was", async () => {
    let opened = 0;
    let hear: () => void = () => undefined;
    const heard = new Promise<void>((resolve) => (hear = resolve));
    const offsets: bigint[] = [];
    await using guest = await FakeGuest.start({
      routes: (router, session) => {
        route(router, {
          read: async function* ({ offset }: { offset: bigint }) {
            offsets.push(offset);
            yield sizes;
            if (offsets.length === 1) {
              yield chunk(0n, "abc");
              await heard;
              session.socket.destroy();
              await new Promise(() => undefined);
            }
            yield chunk(3n, "def");
            yield end();
          },
        });
      },
    });
    let connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
    const reconnect = async () => {
      opened += 1;
      await connection[Symbol.asyncDispose]();
      return (connection = await connectGuest(guest.path, { timeoutMs: 5_000 }));
    };
    const shells = new GuestShells({ connection: () => connection, reconnect });
    const text: string[] = [];
    for await (const piece of shells.read("sh-1", { offset: 0 })) {
      if (piece.kind !== "data") continue;
      text.push(Buffer.from(piece.data).toString());
      hear();
    }
    expect([text, offsets, opened]).toEqual([["abc", "def"], [0n, 3n], 1]);
    await connection[Symbol.asyncDispose]();
  });
});

