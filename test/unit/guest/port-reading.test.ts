import { createServer, type Socket } from "node:net";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FrameReader } from "../../../src/guest/frame-reader.js";
import { CHANNEL, dataHeader } from "../../../src/guest/frame.js";
import { PortReading } from "../../../src/guest/port-reading.js";
import { connectUnix } from "../../../src/kit/index.js";

describe("reading a port", () => {
  it("keeps what comes before anybody takes it, and reads all of it into one buffer", async () => {
    const directory = await mkdtemp(join(tmpdir(), "pyro-port-"));
    const sent = Buffer.from(Array.from({ length: 500_000 }, (_, index) => index % 251));
    const server = createServer((socket) => socket.end(sent));
    await new Promise<void>((resolve) => server.listen(join(directory, "port.sock"), resolve));
    const reading = new PortReading();
    const socket: Socket = await connectUnix(join(directory, "port.sock"), reading.onread);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(socket.bytesRead).toBeGreaterThan(0);
    expect(socket.bytesRead).toBeLessThan(sent.length);
    const got: Buffer[] = [];
    const memory = new Set<ArrayBufferLike>();
    reading.begin(socket, (bytes) => {
      memory.add(bytes.buffer);
      got.push(Buffer.from(bytes));
    });
    await new Promise((resolve) => socket.once("close", resolve));
    expect(Buffer.concat(got).equals(sent)).toBe(true);
    expect(memory.size).toBe(1);
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });

  it("makes payloads that stay as they are when the chunk becomes another, wherever it was cut", () => {
    const payload = Buffer.from(Array.from({ length: 3_000 }, (_, index) => index % 7));
    const frame = (epoch: number): Buffer =>
      Buffer.concat([dataHeader(CHANNEL.bulk, epoch, payload.length), payload]);
    const all = Buffer.concat([frame(7), frame(8), frame(7), dataHeader(CHANNEL.control, 7, 0), frame(7)]);
    for (const size of [1, 13, 3_019, 3_020, 5_000, all.length]) {
      const got: [number, Buffer][] = [];
      const counters = { skippedBytes: 0, droppedFrames: 0 };
      const reader = new FrameReader(7, counters, (channel, bytes) => got.push([channel, bytes]));
      const chunk = Buffer.alloc(size);
      for (let at = 0; at < all.length; at += size) {
        const count = all.copy(chunk, 0, at, at + size);
        reader.read(chunk.subarray(0, count));
        chunk.fill(0xff);
      }
      expect(got.map(([channel, bytes]) => [channel, bytes.equals(payload) ? "whole" : bytes.length])).toEqual([
        [CHANNEL.bulk, "whole"],
        [CHANNEL.bulk, "whole"],
        [CHANNEL.control, 0],
        [CHANNEL.bulk, "whole"],
      ]);
      expect(counters).toEqual({ skippedBytes: 0, droppedFrames: 1 });
    }
  });
});
