import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { CHANNEL, HEADER_BYTES } from "../../../src/guest/frame.js";
import { FrameWriter } from "../../../src/guest/frame-writer.js";

const EPOCH = 7;
const CHANNELS = Object.entries(CHANNEL);

/** A socket that takes what it is told to, and notes the channel of each frame. */
class SlowSocket extends EventEmitter {
  writableLength = 0;
  readonly sent: string[] = [];
  #written: (() => void)[] = [];

  write(bytes: Buffer, done?: () => void): boolean {
    this.writableLength += bytes.length;
    if (bytes.length >= HEADER_BYTES && bytes.readUInt32BE(8) === EPOCH) {
      this.sent.push(CHANNELS.find(([, number]) => number === bytes[6])?.[0] ?? "none");
    }
    if (done !== undefined) this.#written.push(done);
    return true;
  }

  cork(): void {
    this.writableLength += 0;
  }
  uncork(): void {
    this.writableLength += 0;
  }

  /** All that it was given is on its way. */
  drain(): void {
    this.writableLength = 0;
    for (const done of this.#written.splice(0)) done();
  }
}

const frame = (bytes = 60_000): Buffer => Buffer.alloc(HEADER_BYTES + bytes);

function writer(): { readonly socket: SlowSocket; readonly writer: FrameWriter } {
  const socket = new SlowSocket();
  return { socket, writer: new FrameWriter(socket as unknown as Socket, EPOCH) };
}

describe("who sends frames", () => {
  it("sends control and event at once, bulk and network in turn, probe last", () => {
    const { socket, writer: frames } = writer();
    for (const channel of [CHANNEL.probe, CHANNEL.bulk, CHANNEL.network]) {
      for (let count = 0; count < 4; count += 1) frames.send(channel, frame());
    }
    frames.send(CHANNEL.control, frame(10));
    frames.send(CHANNEL.event, frame(10));
    expect(socket.sent).toEqual(["probe", "probe", "probe", "control", "event"]);
    for (let count = 0; count < 8; count += 1) socket.drain();
    const turns = ["bulk", "network", "bulk", "network", "bulk", "network", "bulk", "network"];
    expect(socket.sent.slice(5)).toEqual([...turns, "probe"]);
  });

  it("gives room to those who ask in their order, and to all when nothing is left", async () => {
    const { socket, writer: frames } = writer();
    const order: number[] = [];
    for (let count = 0; count < 11; count += 1) frames.send(CHANNEL.network, frame());
    expect(socket.sent).toHaveLength(3);
    const asked = Array.from({ length: 20 }, async (_, index) => {
      await frames.room(CHANNEL.network);
      order.push(index);
    });
    await frames.room(CHANNEL.bulk);
    socket.drain();
    await new Promise(setImmediate);
    expect(order).toEqual([0, 1, 2]);
    // The first asks again, behind the others.
    const again = frames.room(CHANNEL.network).then(() => order.push(0));
    for (let count = 0; count < 3; count += 1) socket.drain();
    await Promise.all([...asked, again]);
    expect(order).toEqual([...Array.from({ length: 20 }, (_, index) => index), 0]);
  });

  it("tells when it needs the bytes no more: they were written, or it is over", () => {
    const { socket, writer: frames } = writer();
    const taken: number[] = [];
    for (let index = 0; index < 5; index += 1) {
      frames.send(CHANNEL.network, frame(8), Buffer.alloc(60_000), () => taken.push(index));
    }
    expect([socket.sent.length, taken]).toEqual([3, []]);
    socket.drain();
    expect([socket.sent.length, taken]).toEqual([5, [0, 1, 2]]);
    frames.send(CHANNEL.bulk, frame(8), undefined, () => taken.push(5));
    socket.drain();
    for (let index = 6; index < 10; index += 1) {
      frames.send(CHANNEL.network, frame(), undefined, () => taken.push(index));
    }
    frames.end();
    expect(taken).toEqual([0, 1, 2, 3, 4, 5, 9]);
    socket.drain();
    expect(taken).toEqual([0, 1, 2, 3, 4, 5, 9, 6, 7, 8]);
  });

  it("lets nobody wait once it is over", async () => {
    const { writer: frames } = writer();
    for (let count = 0; count < 20; count += 1) frames.send(CHANNEL.network, frame());
    const asked = frames.room(CHANNEL.network);
    frames.end();
    await asked;
    await frames.room(CHANNEL.network);
    expect(frames).toBeDefined();
  });
});
