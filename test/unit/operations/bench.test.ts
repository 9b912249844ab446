import { mkdtempSync, rmSync } from "node:fs";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { commandRows } from "../../../src/operations/bench/measure.js";
import { memoryOf, processesOf } from "../../../src/operations/bench/processes.js";
import { median, percentile, repeat } from "../../../src/operations/bench/samples.js";
import { Pyro } from "../../../src/sdk/index.js";
import { cli } from "../../fakes/cli-host.js";
import { startFakeDaemon, type FakeScript } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

/** A guest that says "up" and ends with the status. */
function guest(exitCode = 0): FakeScript {
  const run = async function* () {
    await Promise.resolve();
    yield { event: { case: "stdout" as const, value: Buffer.from("up\n") } };
    const value = { exitCode, isolation: "software", startupUs: 300_000n, durationUs: 40_000n };
    yield { event: { case: "result" as const, value } };
  };
  return { run: { run } };
}

async function bench(script: FakeScript, ...args: string[]) {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path, script);
  const ended = await cli(["--state-dir", state.path, "bench", "--rounds", "2", ...args]);
  return { ...ended, runs: daemon.calls.filter((name) => name === "Run").length };
}

describe("pyro bench", () => {
  test("--json carries the host's facts, and every figure with its unit and samples", async () => {
    const { status, stdout, runs } = await bench(guest(), "--json");
    expect(status).toBe(0);
    const record = JSON.parse(stdout) as { rows: { name: string }[] };
    expect(record).toMatchObject({
      environment: "debian:12",
      isolation: "software",
      host: { node: process.version },
    });
    expect(record.rows).toContainEqual(
      expect.objectContaining({
        name: "a VM, 8 at once (all came): median",
        ...{ value: 300, unit: "ms", samples: 8, aim: "3x" },
        floor: { name: "one alone", value: 300 },
      }),
    );
    expect(record.rows.map(({ name }) => name)).toContain("resident memory of the daemon");
    // The first, two rounds, two loops, three alone, twelve at once, two that wait.
    expect(runs).toBe(22);
  });

  test("people get a table with the ratio to the floor, and progress on standard error", async () => {
    const { stdout, stderr } = await bench(guest());
    expect(stdout).toMatch(/^FIGURE +MEDIAN +FLOOR +RATIO +THE FLOOR IS +AIM$/m);
    expect(stdout).toMatch(/^a VM, 8 at once \(all came\): median +300 ms +300 ms +1\.00x +one alone +3x$/m);
    expect(stderr).toContain("several at once");
  });

  test("a VM whose command fails ends it: no figure stands for what did not work", async () => {
    const { status, stdout, stderr } = await bench(guest(3));
    expect(status).toBe(1);
    expect(stdout).toBe("");
    expect(stderr).toContain("INTERNAL: the command in the VM ended with status 3");
  });
});

describe("the command line's rows", () => {
  const subject = (pyro: Pyro, command: readonly string[]) => ({
    ...{ pyro, command },
    ...{ environment: "debian:12", rounds: 2 },
  });

  test("stand on a bare Node of the same minute", async () => {
    await using state = await temporaryState();
    await using _ = await startFakeDaemon(state.path, guest());
    await using pyro = new Pyro({ stateDir: state.path });
    const rows = await commandRows(subject(pyro, [process.execPath, "-e", "0", "--"]));
    expect(rows.map(({ name, floor }) => [name, floor?.name])).toEqual([
      ["node -e 0", undefined],
      ["pyro --version", "node -e 0"],
      ["pyro run debian:12 -- true", "node + a VM + an exec"],
    ]);
  });

  test("a command that fails says how it ended", async () => {
    await using pyro = new Pyro({ stateDir: "/nonexistent" });
    const failing = [process.execPath, "-e", "console.error('no'); process.exit(7)", "--"];
    await expect(commandRows(subject(pyro, failing))).rejects.toMatchObject({
      code: "INTERNAL",
      message: expect.stringContaining("ended with status 7: no") as string,
    });
  });
});

test("the median and percentiles are samples, and a spent budget leaves at least one", async () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(percentile([4, 1, 3, 2], 0.99)).toBe(4);
  expect(median([])).toBeNaN();
  expect(await repeat(3, () => Promise.resolve(5))).toEqual([5, 5, 5]);
  expect(await repeat(3, () => Promise.resolve(5), 0)).toEqual([5]);
});

test("processes of a directory are those that name it or work below it, with their memory", async () => {
  const directory = mkdtempSync(join(tmpdir(), "pyro-test-"));
  const child = spawn("sleep", ["60"], { cwd: directory });
  try {
    await once(child, "spawn");
    expect(processesOf(directory).map(({ pid }) => pid)).toEqual([child.pid]);
    const { residentMib, privateMib } = memoryOf(child.pid ?? 0);
    expect(residentMib).toBeGreaterThan(0);
    expect(privateMib).toBeLessThanOrEqual(residentMib);
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
    rmSync(directory, { recursive: true });
  }
  expect(processesOf(directory)).toEqual([]);
});
