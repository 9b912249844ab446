import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fileStore, Spool } from "../../../src/workspace/spool.js";
import { memoryStore } from "../../fakes/memory-store.js";

const bytes = (length: number, from = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (from + i) % 251);

/** The reference: everything in one array, the same rules written plainly. */
function expected(all: Uint8Array, limit: number, offset: number): Uint8Array {
  const half = Math.floor(limit / 2);
  const ringStart = Math.max(Math.min(half, all.length), all.length - (limit - half));
  return Uint8Array.from([
    ...all.subarray(Math.min(offset, half), half),
    ...all.subarray(Math.max(offset, ringStart)),
  ]);
}

describe("Spool", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "spool-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("keeps a short stream whole and says where to read on", async () => {
    await using spool = new Spool(memoryStore(), 100);
    await spool.append(bytes(40));
    await spool.append(bytes(20, 40));
    const window = await spool.window(10, 100);
    expect([...window.head]).toEqual([...bytes(50, 10)]);
    expect(window).toMatchObject({ offset: 10, cutBytes: 0, nextOffset: 60 });
    expect(window.tail).toHaveLength(0);
  });

  it("answers an offset past the end with nothing", async () => {
    await using spool = new Spool(memoryStore(), 100);
    await spool.append(bytes(10));
    expect(await spool.window(999, 50)).toMatchObject({ offset: 10, cutBytes: 0, nextOffset: 10 });
  });

  it("cuts the middle of a window and reads on after its head", async () => {
    await using spool = new Spool(memoryStore(), 1000);
    await spool.append(bytes(100));
    const first = await spool.window(0, 20);
    expect(first.head).toHaveLength(10);
    expect([...first.tail]).toEqual([...bytes(10, 90)]);
    expect(first).toMatchObject({ cutBytes: 80, nextOffset: 10 });
  });

  it("drops the middle of a stream beyond its limit and counts it exactly", async () => {
    await using spool = new Spool(await fileStore(join(directory, "s")), 64);
    const all = bytes(1000);
    for (let at = 0; at < all.length; at += 37) await spool.append(all.subarray(at, at + 37));
    expect(spool).toMatchObject({ totalBytes: 1000, droppedBytes: 936 });
    const window = await spool.window(0, 64);
    expect([...window.head, ...window.tail]).toEqual([...expected(all, 64, 0)]);
    expect(window).toMatchObject({ cutBytes: 936, nextOffset: 1000 });
  });

  it("jumps over what was dropped when it is read page by page", async () => {
    await using spool = new Spool(memoryStore(), 64);
    await spool.append(bytes(200));
    const seen: number[] = [];
    let offset = 0;
    for (;;) {
      const window = await spool.window(offset, 20);
      if (window.cutBytes === 0) {
        seen.push(...window.head, ...window.tail);
        break;
      }
      seen.push(...window.head);
      expect(window.nextOffset).toBeGreaterThan(offset);
      offset = window.nextOffset;
    }
    expect(seen).toEqual([...expected(bytes(200), 64, 0)]);
  });

  it("agrees with the plain rule for any cut of any stream", async () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed % below;
    };
    for (let round = 0; round < 300; round++) {
      const limit = 2 + random(60);
      const all = bytes(random(300));
      await using spool = new Spool(memoryStore(), limit);
      for (let at = 0; at < all.length;) {
        const length = 1 + random(90);
        await spool.append(all.subarray(at, at + length));
        at += length;
      }
      const offset = random(all.length + 5);
      const window = await spool.window(offset, limit);
      const from = Math.min(offset, all.length);
      expect([...window.head, ...window.tail]).toEqual([...expected(all, limit, from)]);
      expect(window.head.length + window.tail.length + window.cutBytes).toBe(all.length - from);
    }
  });

  it("is read on from any offset in order: the first kept bytes, and how many before them are not", async () => {
    await using spool = new Spool(memoryStore(), 100);
    await spool.append(bytes(70));
    expect(await spool.readOn(0, 30)).toEqual({ skippedBytes: 0, data: Buffer.from(bytes(30)) });
    expect(await spool.readOn(30, 1000)).toEqual({ skippedBytes: 0, data: Buffer.from(bytes(20, 30)) });
    expect(await spool.readOn(50, 1000)).toEqual({ skippedBytes: 0, data: Buffer.from(bytes(20, 50)) });
    for (const beyond of [70, 1000])
      expect(await spool.readOn(beyond, 10)).toEqual({ skippedBytes: 0, data: new Uint8Array() });
    await spool.append(bytes(90, 70));
    // The ring holds the last 50 of 160.
    expect(await spool.readOn(50, 1000)).toEqual({ skippedBytes: 60, data: Buffer.from(bytes(50, 110)) });
    expect(await spool.readOn(120, 5)).toEqual({ skippedBytes: 0, data: Buffer.from(bytes(5, 120)) });
  });

  it("can be opened again and read as it was", async () => {
    const path = join(directory, "s");
    {
      await using spool = new Spool(await fileStore(path), 64);
      await spool.append(bytes(100));
    }
    await using again = new Spool(await fileStore(path, true), 64, 100);
    const window = await again.window(0, 64);
    expect([...window.head, ...window.tail]).toEqual([...expected(bytes(100), 64, 0)]);
  });
});
