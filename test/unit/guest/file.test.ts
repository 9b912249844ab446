import { describe, expect, it } from "vitest";
import { connectGuest, downloadFile, extractTar, uploadFile, type GuestConnection } from "../../../src/guest/index.js";
import { LIMITS, PyroError } from "../../../src/protocol/index.js";
import { FileService } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { FakeGuest } from "../../fakes/fake-guest.js";

interface Files {
  readonly seen: { path?: string; mode?: number; chunks: number[]; request?: object };
  readonly content: Buffer;
  readonly lies?: boolean;
  readonly isEmpty?: boolean;
  readonly claimedSize?: bigint;
}

async function withFiles(files: Files, use: (connection: GuestConnection) => Promise<void>): Promise<void> {
  const take = async (messages: AsyncIterable<{ data: Uint8Array }>): Promise<bigint> => {
    let bytes = 0n;
    for await (const message of messages) {
      if (files.seen.chunks.length === 0) {
        const head = message as { path?: Uint8Array; directory?: Uint8Array; mode?: number };
        files.seen.path = Buffer.from(head.path ?? head.directory ?? []).toString();
        if (head.mode !== undefined) files.seen.mode = head.mode;
      }
      files.seen.chunks.push(message.data.length);
      bytes += BigInt(message.data.length);
    }
    return files.lies === true ? bytes + 1n : bytes;
  };
  await using guest = await FakeGuest.start({
    routes: (router) =>
      router.service(FileService, {
        read: async function* (request) {
          files.seen.request = request;
          if (files.isEmpty === true) return;
          yield { sizeBytes: files.claimedSize ?? BigInt(files.content.length) };
          for (let at = 0; at < files.content.length; at += 1000) yield { data: files.content.subarray(at, at + 1000) };
        },
        write: async (messages) => ({ bytesWritten: await take(messages) }),
        extractTar: async (messages) => ({ entryCount: 3n, bytesWritten: await take(messages) }),
      }),
  });
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  await use(connection);
}

const code = (expected: string) => expect.objectContaining({ code: expected }) as PyroError;

async function* pieces(...sizes: number[]): AsyncGenerator<Uint8Array> {
  for (const size of sizes) yield Buffer.alloc(size, 7);
}

async function collect(data: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of data) parts.push(part);
  return Buffer.concat(parts);
}

describe("a file of the guest", () => {
  it("is read whole, or a part of it", async () => {
    const files: Files = { seen: { chunks: [] }, content: Buffer.alloc(5_500, "x") };
    await withFiles(files, async (connection) => {
      const whole = await downloadFile(connection, "/etc/motd");
      expect(whole.sizeBytes).toBe(5_500);
      expect((await collect(whole.data)).equals(files.content)).toBe(true);
      await collect((await downloadFile(connection, "/etc/motd", { offset: 10, maxBytes: 9_000 })).data);
      expect(files.seen.request).toMatchObject({ offset: 10n, maxBytes: 9_000n });
    });
  });

  it("may be left early", async () => {
    const files: Files = { seen: { chunks: [] }, content: Buffer.alloc(5_000_000) };
    await withFiles(files, async (connection) => {
      for await (const part of (await downloadFile(connection, "/big")).data) {
        expect(part.length).toBe(1000);
        break;
      }
      await connection.system.ping({});
    });
  });

  it("is written in chunks, and the count is checked", async () => {
    const files: Files = { seen: { chunks: [] }, content: Buffer.alloc(0) };
    await withFiles(files, async (connection) => {
      const written = await uploadFile(connection, "/tmp/x", pieces(10, LIMITS.bulkChunkBytes + 1), { mode: 0o755 });
      expect(written).toEqual({ bytesWritten: LIMITS.bulkChunkBytes + 11 });
      expect(files.seen).toEqual({ path: "/tmp/x", mode: 0o755, chunks: [0, 10, LIMITS.bulkChunkBytes, 1] });
    });
  });

  it("can be a tar that is unpacked", async () => {
    const files: Files = { seen: { chunks: [] }, content: Buffer.alloc(0) };
    await withFiles(files, async (connection) => {
      const signal = new AbortController().signal;
      expect(await extractTar(connection, "/workspace", pieces(512), { signal })).toEqual({ entryCount: 3, bytesWritten: 512 });
      expect(files.seen.path).toBe("/workspace");
    });
  });

  it("fails with the error of its source", async () => {
    const files: Files = { seen: { chunks: [] }, content: Buffer.alloc(0) };
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(10);
      throw new PyroError("DISK_FULL", "the source failed");
    };
    await withFiles(files, async (connection) => {
      await expect(uploadFile(connection, "/tmp/x", broken())).rejects.toEqual(code("DISK_FULL"));
      await connection.system.ping({});
    });
  });

  it.each(["relative", "", "/a\0b"])("is refused by the path %j", async (path) => {
    const nothing = undefined as unknown as GuestConnection;
    await expect(downloadFile(nothing, path)).rejects.toEqual(code("INVALID_ARGUMENT"));
    await expect(uploadFile(nothing, path, pieces())).rejects.toEqual(code("INVALID_ARGUMENT"));
    await expect(extractTar(nothing, path, pieces())).rejects.toEqual(code("INVALID_ARGUMENT"));
  });

  it("of an agent that lies breaks the protocol", async () => {
    const base = { seen: { chunks: [] }, content: Buffer.alloc(5_000) };
    await withFiles({ ...base, lies: true }, async (connection) => {
      await expect(uploadFile(connection, "/x", pieces(10))).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
      const more = await downloadFile(connection, "/x", { maxBytes: 1_500 });
      await expect(collect(more.data)).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
    });
    await withFiles({ ...base, isEmpty: true }, async (connection) => {
      await expect(downloadFile(connection, "/x")).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
    });
    await withFiles({ ...base, claimedSize: 2n ** 63n }, async (connection) => {
      await expect(downloadFile(connection, "/x")).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
    });
  });
});
