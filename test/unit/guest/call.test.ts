import { describe, expect, it } from "vitest";
import { connectGuest, type GuestConnection } from "../../../src/guest/index.js";
import { FileService, ProcessService } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { PyroError } from "../../../src/protocol/index.js";
import { sleep } from "../../../src/kit/index.js";
import { FakeGuest, type FakeGuestScript } from "../../fakes/fake-guest.js";

const CHUNK = 50_000;
/** Credit, and the packet that may go while any is left. */
const MOST_UNREAD = 1024 * 1024 + CHUNK;

async function connected(
  routes: NonNullable<FakeGuestScript["routes"]>,
  use: (connection: GuestConnection, guest: FakeGuest) => Promise<void>,
): Promise<void> {
  await using guest = await FakeGuest.start({ routes });
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  await use(connection, guest);
  await settled(() => guest.session.bulk.callCount + guest.session.control.callCount);
  expect(guest.session.bulk.callCount + guest.session.control.callCount).toBe(0);
}

/** Waits until a count has stopped changing. */
async function settled(count: () => number): Promise<number> {
  let before = -1;
  while (before !== count()) {
    before = count();
    await sleep(30);
  }
  return before;
}

describe("a call to the guest", () => {
  it("holds back an agent whose stream nobody reads, and nothing else", async () => {
    let sent = 0;
    await connected(
      (router) =>
        router.service(FileService, {
          read: async function* () {
            for (; ; sent += CHUNK) yield { data: new Uint8Array(CHUNK) };
          },
        }),
      async (connection) => {
        const abort = new AbortController();
        const reading = connection.file.read({}, { signal: abort.signal })[Symbol.asyncIterator]();
        await reading.next();
        expect(await settled(() => sent)).toBeLessThanOrEqual(MOST_UNREAD + CHUNK);
        await connection.system.ping({});
        for (let count = 0; count < 200; count += 1) await reading.next();
        expect(sent).toBeGreaterThanOrEqual(199 * CHUNK);
        abort.abort();
      },
    );
  });

  it("is held back by an agent that does not read", async () => {
    let read: () => void = () => undefined;
    const reading = new Promise<void>((resolve) => {
      read = resolve;
    });
    await connected(
      (router) =>
        router.service(FileService, {
          write: async (messages) => {
            await reading;
            let bytes = 0;
            for await (const { data } of messages) bytes += data.length;
            return { bytesWritten: BigInt(bytes) };
          },
        }),
      async (connection) => {
        let given = 0;
        const source = async function* (): AsyncGenerator<{ data: Uint8Array }> {
          for (; given < 60 * CHUNK; given += CHUNK) yield { data: new Uint8Array(CHUNK) };
        };
        const writing = connection.file.write(source());
        expect(await settled(() => given)).toBeLessThanOrEqual(MOST_UNREAD + CHUNK);
        read();
        expect((await writing).bytesWritten).toBe(BigInt(60 * CHUNK));
      },
    );
  });

  it("carries messages that are larger than a frame and than the credit", async () => {
    await connected(
      (router) => router.service(ProcessService, { start: ({ argv }) => ({ pid: argv[0]?.length ?? 0 }) }),
      async (connection) => {
        for (const bytes of [0, 65_000, 65_536, 1_100_000, 3_000_000]) {
          expect((await connection.control.start({ argv: [new Uint8Array(bytes)] })).pid).toBe(bytes);
        }
        await expect(connection.control.start({ argv: [new Uint8Array(17_000_000)] })).rejects.toMatchObject({
          code: "ARGUMENT_TOO_LARGE",
        });
        await connection.system.ping({});
      },
    );
  });

  it("ends its input when the agent has answered before all of it came", async () => {
    await connected(
      (router) => router.service(FileService, { write: () => Promise.resolve({ bytesWritten: 7n }) }),
      async (connection) => {
        let ended = false;
        const source = async function* (): AsyncGenerator<{ data: Uint8Array }> {
          try {
            for (;;) yield { data: new Uint8Array(CHUNK) };
          } finally {
            ended = true;
          }
        };
        expect((await connection.file.write(source())).bytesWritten).toBe(7n);
        await sleep(20);
        expect(ended).toBe(true);
      },
    );
  });

  it("fails with what its input failed with, and is cancelled", async () => {
    let seen: unknown;
    await connected(
      (router) =>
        router.service(FileService, {
          write: async (messages) => {
            try {
              for await (const message of messages) expect(message).toBeDefined();
            } catch (error) {
              seen = error;
            }
            return {};
          },
        }),
      async (connection) => {
        const reason = new PyroError("CANCELLED", "the source broke");
        const source = async function* (): AsyncGenerator<{ data: Uint8Array }> {
          yield { data: new Uint8Array(1) };
          await sleep(10);
          throw reason;
        };
        await expect(connection.file.write(source())).rejects.toBe(reason);
        await sleep(20);
        expect(seen).toMatchObject({ rawMessage: "cancelled" });
      },
    );
  });

  it("is cancelled when its signal says so", async () => {
    let ended = 0;
    await connected(
      (router) =>
        router.service(FileService, {
          read: async function* () {
            try {
              for (;;) yield { data: new Uint8Array(CHUNK) };
            } finally {
              ended += 1;
            }
          },
        }),
      async (connection) => {
        const abort = new AbortController();
        const reading = connection.file.read({}, { signal: abort.signal })[Symbol.asyncIterator]();
        await reading.next();
        abort.abort();
        await expect(reading.next()).rejects.toMatchObject({ code: "CANCELLED" });
        await expect(connection.file.read({}, { signal: abort.signal })[Symbol.asyncIterator]().next()).rejects.toMatchObject({
          code: "CANCELLED",
        });
        await settled(() => ended);
        expect(ended).toBe(1);
      },
    );
  });

  it("shares its channel with hundreds of others", async () => {
    await connected(
      (router) =>
        router.service(ProcessService, {
          get: async ({ processId }) => {
            await sleep(Number(processId) % 7);
            return { process: { processId } };
          },
        }),
      async (connection) => {
        const ids = Array.from({ length: 500 }, (_, index) => String(index));
        const answers = await Promise.all(ids.map((processId) => connection.control.get({ processId })));
        expect(answers.map(({ process }) => process?.processId)).toEqual(ids);
      },
    );
  });
});
