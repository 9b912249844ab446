import { appendFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { build } from "esbuild";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { baseEnvironment, complete } from "../../../src/kit/index.js";
import { NetworkRecord, RecordFile } from "../../../src/network/index.js";
import { LIMITS } from "../../../src/protocol/index.js";

let directory: string;
let path: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-network-record-"));
  path = join(directory, "network.jsonl");
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

const place = { kind: "connection", address: "203.0.114.7", port: 443 } as const;
const refusal = { ...place, decision: "refused", reason: "no rule allows it", hint: "allow it" } as const;

describe("the record of a network", () => {
  it("keeps what connected and what was refused, and exact totals", () => {
    let nowMs = 1000;
    const record = new NetworkRecord({ now: () => nowMs });
    const open = record.add({ ...place, decision: "open", name: "good.test", openedBy: "command-1" });
    record.add(refusal);
    nowMs += 500;
    record.finish(open, { decision: "allowed", bytesUp: 10, bytesDown: 2000, end: "finished" });
    expect(record.entries).toMatchObject([
      {
        sequence: 1,
        atMs: 1000,
        decision: "allowed",
        bytesUp: 10,
        bytesDown: 2000,
        durationMs: 500,
        end: "finished",
      },
      { sequence: 2, decision: "refused", reason: "no rule allows it" },
    ]);
    expect(record.totals).toEqual({
      connections: 1,
      published: 0,
      refused: 1,
      failed: 0,
      bytesUp: 10,
      bytesDown: 2000,
    });
    expect(record.lastRefusal).toEqual({ atMs: 1000, reason: "no rule allows it", hint: "allow it" });
  });

  it("tells what was made or changed since, and waits where there is nothing yet", async () => {
    const record = new NetworkRecord();
    const leaving = new AbortController();
    const after = async (generation: number, signal = leaving.signal) => {
      const changed = await record.entriesAfter(generation, signal);
      return { ...changed, seen: changed.entries.map(({ sequence, decision }) => [sequence, decision]) };
    };
    const waiting = after(record.generation);
    const open = record.add({ ...place, decision: "open" });
    const first = await waiting;
    expect(first.seen).toEqual([[1, "open"]]);
    record.add(refusal);
    record.finish(open, { decision: "allowed" });
    const second = await after(first.generation);
    expect(second.seen).toEqual([
      [1, "allowed"],
      [2, "refused"],
    ]);
    record.add(refusal);
    const third = await after(second.generation);
    expect(third.entries).toMatchObject([{ sequence: 2, times: 2 }]);
    const left = after(third.generation);
    leaving.abort();
    expect(await left).toMatchObject({ seen: [], generation: third.generation });
    const closed = after(third.generation, new AbortController().signal);
    await record.close();
    expect((await closed).seen).toEqual([]);
  });

  it("counts on where another daemon's record ended", async () => {
    const before = new NetworkRecord({ now: () => 5_000 });
    for (let added = 0; added < 100; added += 1) before.add({ ...place, decision: "open" });
    expect(new NetworkRecord({ now: () => 5_001 }).generation).toBeGreaterThan(before.generation);
  });

  it("takes repeated refusals for one, and counts each", () => {
    let nowMs = 0;
    const record = new NetworkRecord({ now: () => nowMs });
    for (let count = 0; count < 500; count += 1) record.add(refusal);
    record.add({ ...refusal, port: 80 });
    record.add(refusal);
    expect(record.entries).toMatchObject([{ port: 443, times: 501 }, { port: 80 }]);
    nowMs += 60_000;
    record.add(refusal);
    expect(record.entries).toHaveLength(3);
    expect(record.totals.refused).toBe(503);
  });

  it("keeps the newest entries, whatever a guest does", () => {
    const record = new NetworkRecord();
    for (let port = 1; port <= LIMITS.networkEntries + 50; port += 1) record.add({ ...refusal, port });
    expect(record.entries).toHaveLength(LIMITS.networkEntries);
    expect(record.entries[0]?.port).toBe(51);
    expect(record.totals.refused).toBe(LIMITS.networkEntries + 50);
  });

  it("shows nobody a secret that a guest puts into a name", async () => {
    const redact = (text: string): string => text.replaceAll("hunter2", "[REDACTED]");
    const record = new NetworkRecord({ redact, file: new RecordFile(path) });
    record.add({
      kind: "name",
      decision: "refused",
      name: "hunter2.evil.test",
      reason: "hunter2.evil.test is not allowed",
    });
    const open = record.add({ ...place, decision: "open" });
    record.finish(open, { decision: "allowed", name: "hunter2.evil.test", end: "finished" });
    await record.close();
    expect(JSON.stringify(record.entries)).not.toContain("hunter2");
    expect(record.lastRefusal?.reason).toBe("[REDACTED].evil.test is not allowed");
    expect(await readFile(path, "utf8")).not.toContain("hunter2");
  });

  it("survives the daemon, with totals, and says what was lost with it", async () => {
    const first = new NetworkRecord({ file: new RecordFile(path) });
    first.finish(first.add({ ...place, decision: "open" }), {
      decision: "allowed",
      bytesUp: 5,
      bytesDown: 6,
    });
    first.add({ ...place, port: 80, decision: "open" });
    first.add(refusal);
    for (let count = 0; count < 9; count += 1) first.add(refusal);
    await first.close();
    const next = await NetworkRecord.open({ file: new RecordFile(path) });
    expect(next.totals).toEqual(first.totals);
    expect(next.entries).toMatchObject([
      { sequence: 1, decision: "allowed", bytesDown: 6 },
      { sequence: 2, decision: "allowed", end: "lost with the daemon" },
      { sequence: 3, decision: "refused", times: 10 },
    ]);
    expect(next.add({ ...refusal, port: 22 }).sequence).toBe(4);
    await next.close();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("is read whatever a crash or a disk made of its file", async () => {
    const first = new NetworkRecord({ file: new RecordFile(path) });
    first.add(refusal);
    await first.close();
    await appendFile(path, 'garbage\n{"entry":{}}\n{"entry":{"sequence":7');
    const next = await NetworkRecord.open({ file: new RecordFile(path) });
    expect(next.entries).toHaveLength(1);
    next.add({ ...refusal, port: 1 });
    await next.close();
    expect((await NetworkRecord.open({ file: new RecordFile(path) })).entries).toHaveLength(2);
    await writeFile(path, "");
    expect((await NetworkRecord.open({ file: new RecordFile(path) })).entries).toEqual([]);
  });

  it("has files of bounded size, the last of which still tells all totals", async () => {
    const bytesMax = 20_000;
    for (let round = 0; round < 20; round += 1) {
      const record = await NetworkRecord.open({ file: new RecordFile(path, bytesMax) });
      for (let port = 1; port <= 20; port += 1) record.add({ ...refusal, port });
      await record.close();
    }
    const sizes = await Promise.all(
      (await readdir(directory)).map(async (name) => (await stat(join(directory, name))).size),
    );
    expect(sizes).toHaveLength(2);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(1.5 * bytesMax);
    const last = await NetworkRecord.open({ file: new RecordFile(path, bytesMax) });
    expect(last.totals.refused).toBe(400);
    expect(last.entries.at(-1)?.sequence).toBe(400);
  });

  it("loses no total when its daemon is killed between the steps of a rotation", async () => {
    const { outputFiles } = await build({
      entryPoints: [new URL("./record-child.ts", import.meta.url).pathname],
      ...{ bundle: true, platform: "node", format: "esm", target: "node20", write: false },
    });
    const child = join(directory, "child.mjs");
    await writeFile(child, outputFiles[0]?.text ?? "");
    const env = { ...baseEnvironment(), PYRO_FAILPOINT: "rotation.renamed" };
    const { signal } = await complete(process.execPath, [child, path], { env });
    expect(signal).toBe("SIGKILL");
    expect((await readdir(directory)).sort()).toEqual(["child.mjs", basename(`${path}.1`)]);
    const next = await NetworkRecord.open({ file: new RecordFile(path) });
    const { sequence = 0 } = next.entries.at(-1) ?? {};
    expect(sequence).toBeGreaterThan(0);
    expect(next.totals.refused).toBe(sequence);
    expect(next.add(refusal).sequence).toBe(sequence + 1);
    await next.close();
    expect((await NetworkRecord.open({ file: new RecordFile(path) })).totals.refused).toBe(sequence + 1);
  });

  it("goes on when its file cannot be written", async () => {
    const record = new NetworkRecord({ file: new RecordFile(join(directory, "no", "such", "place")) });
    record.add(refusal);
    await record.close();
    expect(record.entries).toHaveLength(1);
  });
});
