import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
export const PYRO = join(ROOT, "bin/pyro");

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** The built command as a process of its own; `npm run build` made it. */
export function startBuilt(
  args: readonly string[],
  options: { readonly stdio?: StdioOptions; readonly env?: NodeJS.ProcessEnv } = {},
): ChildProcess & { readonly ended: Promise<Ended> } {
  if (!existsSync(join(ROOT, "dist/main.js"))) throw new Error("dist/ is missing: run `npm run build` first");
  const child = spawn(process.execPath, [PYRO, ...args], {
    stdio: options.stdio ?? ["ignore", "pipe", "pipe"],
    env: options.env ?? process.env,
  });
  const stdout: Buffer[] = [];
  let stderr = "";
  child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => resolve({ code, signal, stdout: Buffer.concat(stdout), stderr }));
  });
  return Object.assign(child, { ended });
}

/** Resolves once the child printed something. */
export async function firstOutput(child: ChildProcess): Promise<void> {
  await new Promise((resolve) => child.stdout?.once("data", resolve));
}

/** Fingerprint of the build: a fake daemon that says it is taken for one of the same build. */
export async function builtId(): Promise<string> {
  return (await readFile(join(ROOT, "dist/build-id"), "utf8")).trim();
}
