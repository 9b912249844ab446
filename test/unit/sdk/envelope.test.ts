import { expect, test } from "vitest";
import { LIMITS } from "../../../src/protocol/index.js";
import { envelope, envelopes, type Envelope } from "../../../src/sdk/envelope.js";

const END = Buffer.from([0b10, 0, 0, 0, 2, 0x7b, 0x7d]);

async function read(chunks: readonly Buffer[]): Promise<Envelope[]> {
  const found: Envelope[] = [];
  for await (const each of envelopes(from(chunks))) found.push(each);
  return found;
}

async function* from(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield await Promise.resolve(chunk);
}

test("messages come out as they went in, wherever their bytes are cut", async () => {
  const messages = [Buffer.from("one"), Buffer.alloc(0), Buffer.alloc(300, 7)];
  const bytes = Buffer.concat([...messages.map(envelope), END]);
  const whole = await read([bytes]);
  expect(whole.map(({ isEnd }) => isEnd)).toEqual([false, false, false, true]);
  expect(whole.map(({ data }) => data)).toEqual([...messages, Buffer.from("{}")]);
  for (let at = 1; at < bytes.length; at += 1) {
    expect(await read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(whole);
  }
  expect(await read([...bytes].map((byte) => Buffer.from([byte])))).toEqual(whole);
});

test("a stream that is cut within a message is told, after what came before", async () => {
  const bytes = Buffer.concat([envelope(Buffer.from("one")), envelope(Buffer.from("two"))]);
  const found = envelopes(from([bytes.subarray(0, -1)]));
  expect((await found.next()).value).toEqual({ isEnd: false, data: Buffer.from("one") });
  await expect(found.next()).rejects.toThrow("half a message");
});

test("a message beyond the bound is refused by its length alone, and a compressed one", async () => {
  const long = Buffer.alloc(5);
  long.writeUInt32BE(LIMITS.wireMessageBytes + 1, 1);
  await expect(read([long])).rejects.toThrow(`${LIMITS.wireMessageBytes + 1} bytes`);
  await expect(read([Buffer.from([1, 0, 0, 0, 0])])).rejects.toThrow("compressed");
});
