import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { complete, launch } from "../../../../src/kit/index.js";
import { PyroError } from "../../../../src/protocol/index.js";
import {
  openSeed,
  type Seed,
  type SeedOptions,
  type SeedProgress,
  type SeedSource,
} from "../../../../src/workspace/seed/index.js";

/** A directory for one test, and the proof that seeds left nothing in their scratch and kept nothing open. */
export class Bench implements AsyncDisposable {
  readonly #before: readonly string[];

  private constructor(
    readonly path: string,
    before: readonly string[],
  ) {
    this.#before = before;
  }

  static async create(): Promise<Bench> {
    const path = await mkdtemp(join(tmpdir(), "pyro-seed-"));
    await mkdir(join(path, "scratch"));
    return new Bench(path, await readdir("/proc/self/fd"));
  }

  at(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  options(more: Partial<SeedOptions> = {}): SeedOptions {
    return { signal: new AbortController().signal, scratch: this.at("scratch"), ...more };
  }

  /** Streams a source into the host's tar, under a new directory. */
  async unpack(source: SeedSource, name = "out", more: Partial<SeedOptions> = {}): Promise<Unpacked> {
    const directory = this.at(name);
    await mkdir(directory);
    await using seed = await openSeed(source, this.options(more));
    await using tar = await launch("tar", ["xpf", "-", "-C", directory, "--warning=no-timestamp"], {
      stdin: "pipe",
    });
    const chunks: number[] = [];
    for await (const chunk of seed.stream()) {
      chunks.push(chunk.length);
      const { stdin } = tar;
      if (stdin?.write(chunk) === false) await new Promise((resolve) => stdin.once("drain", resolve));
    }
    tar.stdin?.end();
    const exit = await tar.exited;
    expect(exit.stderrTail).toBe("");
    expect(exit.code).toBe(0);
    return { directory, seed, chunks, ...counted(seed) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    expect(await readdir(this.at("scratch"))).toEqual([]);
    await rm(this.path, { recursive: true });
    // Descriptors that were opened meanwhile and are still there; the runner's own pipes come and go.
    const now = await readdir("/proc/self/fd");
    expect(now.length - this.#before.length).toBeLessThanOrEqual(2);
  }
}

export interface Unpacked extends SeedProgress {
  readonly directory: string;
  readonly seed: Seed;
  readonly chunks: readonly number[];
  readonly warnings: readonly string[];
}

function counted({ entryCount, bytes, warnings }: Seed): SeedProgress & { warnings: readonly string[] } {
  return { entryCount, bytes, warnings };
}

/** Reads a seed to its end and forgets it. */
export async function drain(source: SeedSource, options: SeedOptions): Promise<Buffer> {
  await using seed = await openSeed(source, options);
  const chunks: Uint8Array[] = [];
  for await (const chunk of seed.stream()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The error that a promise rejects with; fails where it does not, or with another class. */
export async function errorOf(promise: Promise<unknown>): Promise<PyroError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(PyroError);
  return error as PyroError;
}

/** Runs a program of the host and gives what it printed. */
export async function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: cwd,
    LC_ALL: "C.UTF-8",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
  };
  const { stdout, code, stderrTail } = await complete(program, args, {
    cwd,
    env,
    maxBytes: 16 * 1024 * 1024,
  });
  expect(`${code} ${code === 0 ? "" : stderrTail}`).toBe("0 ");
  return stdout;
}

const IDENTITY = [
  "-c",
  "user.name=Someone",
  "-c",
  "user.email=someone@example.org",
  "-c",
  "protocol.file.allow=always",
];

export function git(cwd: string, ...args: string[]): Promise<string> {
  return run("git", [...IDENTITY, ...args], cwd);
}

/** Every name below a directory with type, mode, time, size and link target, as `find` tells them. */
export function listing(directory: string): Promise<string> {
  return run(
    "sh",
    [
      "-c",
      String.raw`find . -mindepth 1 \( -type f -printf '%y %m %T@ %s %P\n' -o -printf '%y %m %T@ %l %P\n' \) | LC_ALL=C sort`,
    ],
    directory,
  );
}
