import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import type { DaemonProgram } from "../../src/sdk/index.js";

/** What the program does: serve, or fail to start in one of these ways. */
export type FakeMode = "serve" | "refuse" | "garbage" | "silent";

/** Builds the fake daemon as a program; the file is gone when it is disposed of. */
export async function buildFakeDaemonProgram(): Promise<
  { readonly program: (mode?: FakeMode) => DaemonProgram } & AsyncDisposable
> {
  const directory = await mkdtemp(join(tmpdir(), "pyro-fake-daemon-"));
  const outfile = join(directory, "main.mjs");
  await build({
    entryPoints: [join(import.meta.dirname, "fake-daemon-main.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    logLevel: "warning",
  });
  return {
    program: (mode = "serve") => ({ program: process.execPath, args: [outfile, mode] }),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
