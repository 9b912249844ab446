import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { mkdir, mkdtemp, open, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { promisify } from "node:util";
import { packagePath } from "../src/kit/index.js";
import { median, timed } from "../src/operations/bench/samples.js";
import { startRegistry } from "../test/registry/real-registry.js";
import type { Row } from "./report.js";
import { openRig, type Subject } from "./rig.js";

const execute = promisify(execFile);
/** Files that this host has anyway, and how much of them: together about 120 MB as gzip packs them. */
const CONTENTS = [
  { path: "/usr/lib/chromium/chromium", bytes: 200e6 },
  { path: process.execPath, bytes: Infinity },
];
const IMAGE = "bench/image";

/**
 * Pulling an image of a registry on this machine, as a user does; beside the download of its layers and the writing of
 * what they hold, done by nothing but a loop, and the start of the machine that unpacks them.
 */
export async function pullRows(subject: Subject, rounds: number): Promise<Row[]> {
  await using registry = await startRegistry();
  const scratch = await mkdtemp(join(subject.directory, "pull-"));
  try {
    await registry.addImage(IMAGE, "1", await filesOf(scratch));
    const samples = {
      pull: [] as number[],
      download: [] as number[],
      write: [] as number[],
      boot: [] as number[],
    };
    let bytes = 0;
    for (let round = 0; round < rounds; round += 1) {
      samples.boot.push(await builderStart(subject));
      const floor = await downloadAndWrite(registry.name, join(scratch, `floor-${round}`));
      samples.download.push(floor.downloadMs);
      samples.write.push(floor.writeMs);
      bytes = floor.bytes;
      samples.pull.push(await pullOnce(registry.name, join(scratch, `home-${round}`)));
    }
    const [pull, download, write, boot] = [samples.pull, samples.download, samples.write, samples.boot].map(
      median,
    );
    const raw = (download ?? 0) + (write ?? 0);
    return [
      {
        name: `env pull of an image of ${Math.round(bytes / 1e6)} MB`,
        value: pull ?? 0,
        unit: "ms",
        floor: { name: "its download and the raw write of its files", value: raw },
        aim: `1.5x and the builder's start: ${Math.round(1.5 * raw + (boot ?? 0))} ms`,
      },
      { name: "the builder's start", value: boot ?? 0, unit: "ms" },
      { name: "download alone", value: download ?? 0, unit: "ms" },
    ];
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function filesOf(scratch: string): Promise<string[]> {
  return await Promise.all(
    CONTENTS.map(async ({ path, bytes }) => {
      const file = join(scratch, basename(path));
      await writeFile(file, createReadStream(path, { end: bytes - 1 }));
      return file;
    }),
  );
}

/** A daemon and a cache of its own: nothing is here yet. */
async function pullOnce(registry: string, home: string): Promise<number> {
  const stateDir = join(home, "state");
  await mkdir(join(home, ".config/pyro"), { recursive: true });
  await writeFile(join(home, ".config/pyro/config.toml"), `insecure_registries = ["${registry}"]\n`);
  const command = (...args: string[]): Promise<unknown> =>
    execute(process.execPath, [packagePath("bin/pyro"), "--state-dir", stateDir, ...args], {
      env: { ...process.env, HOME: home },
    });
  try {
    // The daemon runs, and knows its accelerator.
    await command("doctor").catch(() => undefined);
    return await timed(() => command("env", "pull", `${registry}/${IMAGE}:1`));
  } finally {
    await command("daemon", "stop", "--force");
    await rm(home, { recursive: true, force: true });
  }
}

async function builderStart(subject: Subject): Promise<number> {
  await using rig = await openRig(subject);
  const startedAt = performance.now();
  await using booted = await rig.machines.boot(
    { ...rig.shape, kind: "builder", disks: rig.disks },
    new AbortController().signal,
  );
  const took = performance.now() - startedAt;
  await booted[Symbol.asyncDispose]();
  return took;
}

/** Layer by layer: what comes is written and flushed; then what they hold, as it is. */
async function downloadAndWrite(
  registry: string,
  target: string,
): Promise<{ downloadMs: number; writeMs: number; bytes: number }> {
  const base = `http://${registry}/v2/${IMAGE}`;
  const accept = "application/vnd.oci.image.manifest.v1+json";
  const manifest = await fetch(`${base}/manifests/1`, { headers: { accept } });
  const { layers } = (await manifest.json()) as { layers: { digest: string }[] };
  let bytes = 0;
  let downloadMs = 0;
  let writeMs = 0;
  for (const { digest } of layers) {
    downloadMs += await timed(async () => {
      const { body } = await fetch(`${base}/blobs/${digest}`);
      if (body !== null) await write(target, Readable.fromWeb(body as never));
    });
    bytes += (await stat(target)).size;
    // Unpacked ahead, so that only its writing counts.
    const unpacked = `${target}-unpacked`;
    await write(unpacked, (await open(target)).createReadStream().pipe(createGunzip()));
    writeMs += await timed(async () => {
      await write(`${target}-copy`, (await open(unpacked)).createReadStream({ highWaterMark: 1024 * 1024 }));
    });
    for (const suffix of ["", "-unpacked", "-copy"]) await rm(`${target}${suffix}`);
  }
  return { downloadMs, writeMs, bytes };
}

async function write(path: string, from: AsyncIterable<unknown>): Promise<void> {
  await using file = await open(path, "w");
  for await (const chunk of from) await file.writeFile(chunk as Buffer);
  await file.sync();
}
