/**
 * Layers and memory that rot: bits that flip and files that are cut off while nothing runs on them. A start says by name
 * what is damaged, or gives a machine that answers; it never hangs, and what is damaged stays as it is.
 */
import { execFileSync } from "node:child_process";
import { createHash, randomInt } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, open, readdir, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PyroError } from "../../src/protocol/index.js";
import type { Pyro } from "../../src/sdk/index.js";
import { client, machinesOf, testState, type TestState } from "./support.js";

/** Printed, and taken from the environment: what fails can be seen again, and looked for longer. */
const SEED = Number(process.env["PYRO_TEST_SEED"] ?? randomInt(2 ** 31));
const ROUNDS = Number(process.env["PYRO_TEST_ROUNDS"] ?? 1);
/** Of one call, whatever it meets. */
const CALL = { timeoutMs: 60_000 };
/** Where a qcow2 file has its parts (QEMU's docs/interop/qcow2.txt). */
const PARTS = ["header", "l1", "refcounts", "data"] as const;

let state: TestState;
let pyro: Pyro;
let workspaceId: string;
let directory: string;
/** Copies of the files as they were when nothing was damaged. */
let good: string;

beforeAll(async () => {
  console.log(`PYRO_TEST_SEED=${SEED}`);
  state = await testState();
  pyro = await client(state.path);
  ({ workspaceId } = await pyro.createWorkspace({ environment: "debian:12", ttlSeconds: 3600 }));
  directory = join(state.path, "workspaces", workspaceId);
  good = join(state.path, "good");
  for (const name of ["one", "two"]) {
    await run(`head -c 2000000 /dev/urandom > ${name}`);
    await pyro.createSnapshot({ workspaceId, snapshotName: name });
  }
  await run("head -c 2000000 /dev/urandom > three");
  await pyro.stopWorkspace(workspaceId);
  copy(directory, good);
});
afterAll(async () => {
  await pyro.deleteWorkspace(workspaceId);
  await pyro[Symbol.asyncDispose]();
  expect(await machinesOf(state.path)).toEqual([]);
  await state[Symbol.asyncDispose]();
});

/** Layers and memory as they are, their times too. */
function copy(from: string, to: string): void {
  const script = `mkdir -p "$1" && cd "$0" && cp -a --sparse=always --parents $(find . -name "*.qcow2" -o -path "./memory/*") "$1"`;
  execFileSync("sh", ["-c", script, from, to]);
}

async function run(command: string): Promise<number | null> {
  return (await pyro.execWorkspace({ workspaceId, command }, CALL)).result?.exitCode ?? null;
}

let drawn = SEED;
/** From 0 to below `bound` (mulberry32). */
function random(bound: number): number {
  drawn = (drawn + 0x6d2b79f5) | 0;
  let value = Math.imul(drawn ^ (drawn >>> 15), 1 | drawn);
  value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
  return Math.floor((((value ^ (value >>> 14)) >>> 0) / 2 ** 32) * bound);
}

/** An offset within a part of a qcow2 file. */
async function within(path: string, part: (typeof PARTS)[number]): Promise<number> {
  await using file = await open(path);
  const numberAt = async (offset: number): Promise<number> => {
    const { buffer } = await file.read(Buffer.alloc(8), 0, 8, offset);
    return Number(buffer.readBigUInt64BE() & 0x00fffffffffffe00n);
  };
  // 16 GiB in clusters of 64 KiB have 32 entries in the first table.
  if (part === "header") return random(104);
  if (part === "l1") return (await numberAt(40)) + random(32 * 8);
  if (part === "data") return random((await file.stat()).size);
  const table = await numberAt(48);
  return random(2) === 0 ? table + random(8) : (await numberAt(table)) + random(256);
}

/** Changes a file that nobody writes to; with `asBefore` its times do not show it, as where bits rot. */
async function damage(
  name: string,
  work: (path: string) => Promise<void>,
  asBefore: boolean,
): Promise<string> {
  const path = join(directory, name);
  const { mode } = await stat(path);
  await chmod(path, 0o600);
  await work(path);
  await chmod(path, mode & 0o777);
  if (asBefore) execFileSync("touch", ["-r", join(good, name), path]);
  return await digestOf(path);
}

const flipAt = (offset: number) => async (path: string) => {
  await using file = await open(path, "r+");
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset);
  await file.write(Buffer.of((buffer[0] ?? 0) ^ (1 << random(8))), 0, 1, offset);
};
const cutAt = (offset: number) => async (path: string) => await truncate(path, offset);

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** The code of the error of a start; undefined where it gives a machine, which then answers. */
async function start(): Promise<{ readonly code: string | undefined; readonly words: string }> {
  try {
    await pyro.startWorkspace(workspaceId, {}, CALL);
  } catch (error) {
    const { code, message, hint } = error as PyroError;
    return { code, words: `${message}; hint: ${hint}` };
  }
  // Its files may be damaged, which its file system sees or not.
  expect(await run("true")).toBe(0);
  return { code: undefined, words: "" };
}

async function expectKept(name: string, digest: string): Promise<void> {
  expect(await digestOf(join(directory, name))).toBe(digest);
  expect(await machinesOf(state.path)).toEqual([]);
}

async function mend(): Promise<void> {
  await pyro.stopWorkspace(workspaceId, {}, CALL);
  copy(good, directory);
}

const layers = async (): Promise<string[]> =>
  (await readdir(join(directory, "layers"))).map((name) => `layers/${name}`);

describe("The disk of a stopped workspace", () => {
  it("whose bits rot, unseen in its files' times, is named damaged, or its machine answers", async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      // One that others lie on, and the one that is written to.
      for (const name of [(await layers())[random(2)] ?? "", "active.qcow2"])
        for (const part of PARTS) {
          const offset = await within(join(directory, name), part);
          const digest = await damage(name, flipAt(offset), true);
          const { code, words } = await start();
          console.log(`${name} ${part} ${offset}: ${code ?? "started"} ${words.slice(0, 160)}`);
          expect([undefined, "DISK_DAMAGED"]).toContain(code);
          if (code !== undefined) await expectKept(name, digest);
          await mend();
        }
    }
  });

  it("that was cut off is named damaged, as is a sealed layer that was written to", async () => {
    const [layer = ""] = await layers();
    for (const [name, work] of [
      ["active.qcow2", cutAt(1 + random((await stat(join(directory, "active.qcow2"))).size - 2 ** 16))],
      [layer, cutAt(random((await stat(join(directory, layer))).size))],
      ["baseline.qcow2", cutAt(0)],
      [layer, flipAt(await within(join(directory, layer), "data"))],
    ] as const) {
      const digest = await damage(name, work, false);
      const { code, words } = await start();
      expect([name, code, words]).toEqual([
        name,
        "DISK_DAMAGED",
        expect.stringMatching(/hint: (.*reset .* --snapshot |nothing of it is whole: .*disk export)/),
      ]);
      await expectKept(name, digest);
      await mend();
    }
    expect(await start()).toMatchObject({ code: undefined });
    expect(await run("cat one two three | wc -c | grep -qx 6000000")).toBe(0);
  });
});

describe("The memory of a suspended workspace", () => {
  const suspend = async (): Promise<void> => {
    await run("echo volatile > /dev/shm/kept");
    await pyro.stopWorkspace(workspaceId, { suspend: true }, CALL);
    copy(directory, good);
  };

  it("that rotted or was cut off is named damaged and kept; whole again, it goes on", async () => {
    await suspend();
    const sizeOf = async (name: string): Promise<number> =>
      (await stat(join(directory, "memory", name))).size;
    for (const [name, work] of [
      ["memory/memory", flipAt(random(await sizeOf("memory")))],
      ["memory/memory", cutAt(random(await sizeOf("memory")))],
      ["memory/state", flipAt(random(await sizeOf("state")))],
      ["memory/state", cutAt(random(await sizeOf("state")))],
      ["memory/manifest.json", cutAt(random(await sizeOf("manifest.json")))],
    ] as const) {
      const digest = await damage(name, work, false);
      expect([name, (await start()).code]).toEqual([name, "SAVED_MEMORY_DAMAGED"]);
      await expectKept(name, digest);
      copy(good, directory);
    }
    expect(await start()).toMatchObject({ code: undefined });
    expect(await run("cat /dev/shm/kept")).toBe(0);
  });

  it("does not go on over a disk that was damaged meanwhile, and goes on over one that is whole again", async () => {
    await suspend();
    const [layer = ""] = await layers();
    for (const [name, work] of [
      ["active.qcow2", cutAt(300_000)],
      [layer, flipAt(await within(join(directory, layer), "data"))],
    ] as const) {
      const digest = await damage(name, work, false);
      expect([name, (await start()).code]).toEqual([name, "DISK_DAMAGED"]);
      await expectKept(name, digest);
      copy(good, directory);
    }
    expect(await start()).toMatchObject({ code: undefined });
    expect(await run("cat /dev/shm/kept")).toBe(0);
  });

  it("is given up by a reset, which needs nothing that is damaged", async () => {
    await suspend();
    const [layer = ""] = await layers();
    for (const name of ["memory/memory", "active.qcow2", layer]) await damage(name, cutAt(1000), false);
    await pyro.resetWorkspace(workspaceId, {}, CALL);
    expect(await run("ls one two three")).not.toBe(0);
    expect(await run("true")).toBe(0);
  });
});
