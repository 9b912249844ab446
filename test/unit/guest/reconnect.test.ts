import { mkdtemp, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectGuest, type GuestConnection } from "../../../src/guest/index.js";
import { baseEnvironment, complete, launch, sleep, type Child } from "../../../src/kit/index.js";

/** Disconnects per kind: idle, in mid-transfer to the host, to the guest, both ways. */
const ROUNDS = 80;
const CHUNK = 256 * 1024;

const guestModule = new URL("../../../guest", import.meta.url).pathname;

/** What the Go agent of guest/internal/link/cmd/linktest makes of a call: that many zeros. */
async function download(connection: GuestConnection, bytes: number): Promise<number> {
  const request = { processId: "any", stdoutOffset: BigInt(bytes), stderrOffset: BigInt(CHUNK) };
  let received = 0;
  for await (const { event } of connection.process.readOutput(request)) {
    if (event.case === "chunk") received += event.value.data.length;
  }
  return received;
}

async function upload(connection: GuestConnection, bytes: number): Promise<number> {
  const data = new Uint8Array(CHUNK);
  const chunks = async function* (): AsyncGenerator<{ data: Uint8Array }> {
    for (let left = bytes; left > 0; left -= CHUNK) yield { data: data.subarray(0, Math.min(left, CHUNK)) };
  };
  return Number((await connection.process.writeInput(chunks())).acceptedBytes);
}

describe("the link between the real agent code and the host", () => {
  let directory: string;
  let socket: string;
  let agent: Child;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-linktest-"));
    socket = join(directory, "port.sock");
    const program = join(directory, "linktest");
    const env = { ...baseEnvironment(), PATH: `${process.env["PATH"] ?? ""}:/usr/local/go/bin` };
    const built = await complete("go", ["build", "-o", program, "./internal/link/cmd/linktest"], { cwd: guestModule, env });
    if (built.code !== 0) throw new Error(built.stderrTail);
    agent = await launch(program, ["-socket", socket]);
    while (!existsSync(socket)) await sleep(10);
  }, 300_000);

  afterAll(async () => {
    await agent.close();
    await rm(directory, { recursive: true, force: true });
  });

  it.each<[string, ((connection: GuestConnection) => Promise<unknown>)[]]>([
    ["while idle", []],
    ["in mid-transfer to the host", [(connection) => download(connection, 1e12)]],
    ["in mid-transfer to the guest", [(connection) => upload(connection, 1e12)]],
    ["in mid-transfer both ways", [(connection) => download(connection, 1e12), (connection) => upload(connection, 1e12)]],
  ])(
    "is clean after each disconnect %s",
    async (_, transfers) => {
      const epochs = new Set<number>();
      for (let round = 0; round < ROUNDS; round += 1) {
        let isReady: (epoch: number) => void = () => undefined;
        const ready = new Promise<number>((resolve) => (isReady = resolve));
        const connection = await connectGuest(socket, {
          timeoutMs: 20_000,
          events: { agentReady: ({ epoch }) => isReady(epoch) },
        });
        epochs.add(connection.epoch);
        await connection.system.ping({});
        expect(await ready).toBe(connection.epoch);
        expect(await download(connection, 100_000)).toBe(100_000);
        const ends = transfers.map((transfer) => transfer(connection).then(() => "done", (error: unknown) => error));
        await sleep(round % 8);
        await connection[Symbol.asyncDispose]();
        for (const end of await Promise.all(ends)) expect(end).toMatchObject({ code: "GUEST_DISCONNECTED" });
      }
      expect(epochs.size).toBe(ROUNDS);
    },
    120_000,
  );

  it("carries streams whole after all that, and its probe", async () => {
    await using connection = await connectGuest(socket, { timeoutMs: 20_000 });
    expect(await download(connection, 20_000_000)).toBe(20_000_000);
    expect(await upload(connection, 20_000_000)).toBe(20_000_000);
    const received = connection.probeReceived(3_000_000);
    await connection.diagnostics.flood({ bytes: 3_000_000n });
    await received;
    await connection.floodProbe(3_000_000);
    expect((await connection.diagnostics.drain({ expectBytes: 3_000_000n })).bytes).toBe(3_000_000n);
    expect(connection.counters.droppedFrames).toBe(0);
  });
});
