import type { GuestConnection } from "../src/guest/index.js";
import { freshId } from "../src/kit/index.js";
import { median, percentile } from "../src/operations/bench/samples.js";
import { OutputPolicy } from "../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { LIMITS } from "../src/protocol/index.js";
import type { Row } from "./report.js";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const PATH = [encode("PATH=/usr/bin:/bin")];

/** What an open machine does: round trips, commands, streams. Its root is mounted. */
export async function guestRows(guest: GuestConnection, megabytes: number): Promise<Row[]> {
  return [
    ...(await roundTripRows(guest)),
    ...(await execRows(guest)),
    ...(await streamRows(guest, megabytes)),
  ];
}

async function pings(guest: GuestConnection, count: number): Promise<number[]> {
  const samples = [];
  for (let round = 0; round < count; round++) {
    const startedAt = performance.now();
    await guest.system.ping({});
    samples.push(performance.now() - startedAt);
  }
  return samples;
}

async function roundTripRows(guest: GuestConnection): Promise<Row[]> {
  await pings(guest, 200);
  const samples = await pings(guest, 1000);
  return [
    { name: "agent round trip p50", value: median(samples), unit: "ms", aim: "2 ms" },
    { name: "agent round trip p99", value: percentile(samples, 0.99), unit: "ms" },
  ];
}

async function execOnce(guest: GuestConnection): Promise<number> {
  const processId = freshId("bench");
  const startedAt = performance.now();
  const argv = [encode("true")];
  await guest.control.start({
    processId,
    argv,
    env: PATH,
    cwd: encode("/"),
    outputPolicy: OutputPolicy.BLOCK,
  });
  await drain(guest.process.readOutput({ processId }));
  const took = performance.now() - startedAt;
  await guest.control.remove({ processId });
  return took;
}

async function execRows(guest: GuestConnection): Promise<Row[]> {
  const samples: number[] = [];
  const floors: number[] = [];
  for (let round = 0; round < 30; round++) {
    samples.push(await execOnce(guest));
    const { durationUs } = await guest.diagnostics.spawnLoop({ argv: ["/bin/true"], count: 1 });
    floors.push(...durationUs.map((micros) => micros / 1000));
  }
  const floor = { name: "the guest's own fork+exec", value: median(floors.slice(5)) };
  return [{ name: "exec of true", value: median(samples.slice(5)), unit: "ms", floor, aim: "floor + 5 ms" }];
}

async function rate(megabytes: number, work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return megabytes / ((performance.now() - startedAt) / 1000);
}

/** Streams in both directions against the framed link's own rate, in turns, three times; the medians count. */
async function streamRows(guest: GuestConnection, megabytes: number): Promise<Row[]> {
  const bytes = megabytes * 1_000_000;
  const samples = { linkOut: [], linkIn: [], callOut: [], callIn: [], out: [], in: [], exec: [] } as Record<
    string,
    number[]
  >;
  let received = 0;
  await guest.diagnostics.drain({ expectBytes: 0n });
  for (let round = 0; round < 3; round++) {
    received += bytes;
    samples["linkOut"]?.push(
      await rate(megabytes, async () => {
        await guest.diagnostics.flood({ bytes: BigInt(bytes) });
        await guest.probeReceived(received);
      }),
    );
    samples["linkIn"]?.push(
      await rate(megabytes, async () => {
        const drained = guest.diagnostics.drain({ expectBytes: BigInt(bytes) });
        await guest.floodProbe(bytes);
        await drained;
      }),
    );
    samples["callOut"]?.push(
      await rate(megabytes, () => drain(guest.diagnostics.source({ bytes: BigInt(bytes) }))),
    );
    samples["callIn"]?.push(await rate(megabytes, () => guest.diagnostics.sink(zeros(bytes))));
    await guest.file.write(chunks("/run/bench", bytes));
    samples["out"]?.push(await rate(megabytes, () => readAll(guest, "/run/bench")));
    samples["in"]?.push(await rate(megabytes, () => guest.file.write(chunks("/run/bench", bytes))));
    samples["exec"]?.push(await rate(megabytes, () => catOutput(guest, bytes)));
  }
  const of = (name: string): number => median(samples[name] ?? []);
  const loaded: number[] = [];
  const streaming = new AbortController();
  const stream = readAll(guest, "/run/bench")
    .then(() => readAll(guest, "/run/bench"))
    .finally(() => streaming.abort());
  while (!streaming.signal.aborted) loaded.push(...(await pings(guest, 1)));
  await stream;
  const outFloor = { name: "framed link, guest to host", value: of("linkOut") };
  const inFloor = { name: "framed link, host to guest", value: of("linkIn") };
  return [
    {
      name: "stream of a call, guest to host",
      value: of("callOut"),
      unit: "MB/s",
      floor: outFloor,
      aim: "0.8x",
    },
    {
      name: "stream of a call, host to guest",
      value: of("callIn"),
      unit: "MB/s",
      floor: inFloor,
      aim: "0.8x",
    },
    { name: "file read (guest's tmpfs)", value: of("out"), unit: "MB/s", floor: outFloor },
    { name: "file write (guest's tmpfs)", value: of("in"), unit: "MB/s", floor: inFloor },
    { name: "output of a command (head of a file)", value: of("exec"), unit: "MB/s", floor: outFloor },
    { name: "round trip while a stream runs, p50", value: median(loaded), unit: "ms", aim: "10 ms" },
    { name: "round trip while a stream runs, p99", value: percentile(loaded, 0.99), unit: "ms" },
  ];
}

async function readAll(guest: GuestConnection, path: string): Promise<void> {
  await drain(guest.file.read({ path: encode(path) }));
}

async function catOutput(guest: GuestConnection, bytes: number): Promise<void> {
  const processId = freshId("bench");
  const argv = [encode("head"), encode("-c"), encode(String(bytes)), encode("/run/bench")];
  await guest.control.start({
    processId,
    argv,
    env: PATH,
    cwd: encode("/"),
    outputPolicy: OutputPolicy.BLOCK,
  });
  await drain(guest.process.readOutput({ processId }));
  await guest.control.remove({ processId });
}

async function drain(messages: AsyncIterable<unknown>): Promise<void> {
  const reader = messages[Symbol.asyncIterator]();
  while ((await reader.next()).done !== true);
}

/** A write request of zero bytes in chunks of the size that uploads use. */
async function* chunks(path: string, bytes: number) {
  const data = new Uint8Array(LIMITS.bulkChunkBytes);
  yield { path: encode(path), mode: 0o600, data: new Uint8Array(0) };
  for (let sent = 0; sent < bytes; sent += data.length) {
    yield { data: data.subarray(0, Math.min(data.length, bytes - sent)) };
  }
}

async function* zeros(bytes: number) {
  const data = new Uint8Array(LIMITS.bulkChunkBytes);
  for (let sent = 0; sent < bytes; sent += data.length) {
    yield { data: data.subarray(0, Math.min(data.length, bytes - sent)) };
  }
}
