import { GuestShells, type GuestConnection } from "../src/guest/index.js";
import { freshId } from "../src/kit/index.js";
import { median, percentile } from "../src/operations/bench/samples.js";
import type { Row } from "./report.js";

const ROUNDS = 300;
/** The first ones meet a cold translation cache. */
const WARM_UP = 50;

/** A byte typed into a terminal until its echo is here, beside the agent's round trip of the same moments. */
export async function shellRows(guest: GuestConnection): Promise<Row[]> {
  const shells = new GuestShells({
    connection: () => guest,
    reconnect: () => Promise.reject(new Error("the connection was lost")),
  });
  const shellId = freshId("sh");
  const env = [Buffer.from("PATH=/usr/bin:/bin")];
  await shells.open({ shellId, argv: ["cat"], env, cwd: "/", cols: 80, rows: 24 });
  const leave = new AbortController();
  let shown = 0;
  let heard: () => void = () => undefined;
  const reading = (async () => {
    for await (const piece of shells.read(shellId, { offset: 0, follow: true, signal: leave.signal })) {
      if (piece.kind !== "data") continue;
      shown = piece.offset + piece.data.length;
      heard();
    }
  })().catch(() => undefined);
  const echo = async (): Promise<number> => {
    const echoed = new Promise<void>((resolve) => {
      const before = shown;
      heard = () => {
        if (shown > before) resolve();
      };
    });
    const startedAt = performance.now();
    await shells.write(shellId, Buffer.from("x"));
    await echoed;
    return performance.now() - startedAt;
  };
  const samples: number[] = [];
  const trips: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    samples.push(await echo());
    const startedAt = performance.now();
    await guest.system.ping({});
    trips.push(performance.now() - startedAt);
  }
  leave.abort();
  await reading;
  await shells.close(shellId);
  const warm = samples.slice(WARM_UP);
  const floor = { name: "the agent's round trip", value: median(trips.slice(WARM_UP)) };
  return [
    { name: "shell echo p50", value: median(warm), unit: "ms", floor },
    { name: "shell echo p99", value: percentile(warm, 0.99), unit: "ms" },
  ];
}
