import { describe, expect, it } from "vitest";
import { crc32 } from "../../../src/guest/crc32.js";
import { CHANNEL, HEADER_BYTES, MAX_PAYLOAD_BYTES, dataHeader, helloFrame, scan } from "../../../src/guest/frame.js";

const EPOCH = 0xfedcba98;

/** A header with some bytes changed, and its checksum made right again where asked. */
function forged(change: (header: Buffer) => void, checksum = true): Buffer {
  const header = dataHeader(CHANNEL.bulk, EPOCH, 7);
  change(header);
  if (checksum) header.writeUInt32BE(crc32(header, 0, 16), 16);
  return header;
}

/** Small, seeded and good enough: a failure prints the seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

describe("a frame's header", () => {
  it("has the checksum of the IEEE", () => {
    expect(crc32(Buffer.from("123456789"), 0, 9)).toBe(0xcbf43926);
  });

  it("has the layout of proto/LINK.md", () => {
    expect(dataHeader(CHANNEL.bulk, 0x01020304, 0x10000).subarray(0, 16).toString("hex")).toBe(
      "5059f17e" + "01020200" + "01020304" + "00010000",
    );
    expect(helloFrame(0x01020304).subarray(0, 16).toString("hex")).toBe("5059f17e" + "01010000" + "01020304" + "00000000");
  });

  it("is found again after any bytes", () => {
    const garbage = Buffer.from([0x50, 0x50, 0x59, 0xf1, 0x7e, 1, 2]);
    const found = scan(Buffer.concat([garbage, dataHeader(CHANNEL.event, EPOCH, 5)]), 0);
    expect(found).toEqual({
      skipped: garbage.length,
      header: { kind: "data", channel: CHANNEL.event, epoch: EPOCH, length: 5 },
    });
  });

  it("that may go on is kept, what cannot be one is skipped", () => {
    const half = helloFrame(EPOCH).subarray(0, HEADER_BYTES - 1);
    expect(scan(Buffer.concat([Buffer.alloc(9), half]), 0)).toEqual({ skipped: 9 });
    expect(scan(Buffer.alloc(64), 0)).toEqual({ skipped: 64 });
  });

  it.each<[string, Buffer]>([
    ["a wrong checksum", forged((header) => (header[15] = 1), false)],
    ["a payload one byte too long", forged((header) => header.writeUInt32BE(MAX_PAYLOAD_BYTES + 1, 12))],
    ["a payload of 4 GiB", forged((header) => header.writeUInt32BE(0xffffffff, 12))],
    ["an unknown type", forged((header) => (header[5] = 3))],
    ["an unknown channel", forged((header) => (header[6] = 5))],
    ["another version", forged((header) => (header[4] = 2))],
    ["a set reserved byte", forged((header) => (header[7] = 1))],
    ["epoch 0", forged((header) => header.writeUInt32BE(0, 8))],
    ["a HELLO with a payload", forged((header) => ((header[5] = 1), (header[6] = 0)))],
  ])("is none with %s", (_, header) => {
    expect(scan(header, 0).header).toBeUndefined();
  });

  it("is never found in random bytes, and always behind them", () => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const next = random(seed);
    for (let round = 0; round < 2_000; round += 1) {
      const noise = Buffer.from(Array.from({ length: Math.floor(next() * 80) }, () => (next() < 0.3 ? 0x50 : next() * 256)));
      const { skipped, header } = scan(Buffer.concat([noise, helloFrame(EPOCH)]), 0);
      expect(header, `seed ${seed}`).toEqual({ kind: "hello", epoch: EPOCH, length: 0 });
      expect(skipped, `seed ${seed}`).toBe(noise.length);
    }
  });
});
