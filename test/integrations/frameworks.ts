import { spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { installHosts, installLock, installLocked, NODE_BIN } from "../chat-hosts/installed.js";

const ROOT = join(import.meta.dirname, "../..");
/** Where the frameworks are installed, and beside them this package, as a user has them. */
const FRAMEWORKS = join(ROOT, "test/frameworks");
const PACKAGE = join(FRAMEWORKS, "node_modules/pyro-mcp");
const EXAMPLES = join(ROOT, "examples/frameworks");

/** Longest run of an example, in milliseconds. */
const RUN_MS = 60_000;

/**
 * Installs the frameworks, the newer Node that some of them need, and this package as it was built.
 * @returns undefined, or why it cannot be done here
 */
export async function installFrameworks(): Promise<string | undefined> {
  // Claude Code, which the Claude Agent SDK would bring along as an optional package, is one of the hosts.
  const missing = (await installHosts()) ?? (await installLocked(FRAMEWORKS, ["--omit=optional"]));
  if (missing !== undefined) return missing;
  await installPackage();
  return undefined;
}

/** Puts this package there as it was built, once for each build: test files run side by side, and each needs it to the end. */
async function installPackage(): Promise<void> {
  await using _lock = await installLock(FRAMEWORKS);
  // A build writes what changed only.
  const files = await readdir(join(ROOT, "dist"), { recursive: true });
  const times = await Promise.all(files.map(async (name) => (await stat(join(ROOT, "dist", name))).mtimeMs));
  const build = String(Math.max(...times));
  const marker = join(PACKAGE, "installed-build");
  if ((await readFile(marker, "utf8").catch(() => undefined)) === build) return;
  await rm(PACKAGE, { recursive: true, force: true });
  for (const name of ["bin", "dist", "package.json"])
    await cp(join(ROOT, name), join(PACKAGE, name), { recursive: true, mode: 1 });
  await mkdir(join(PACKAGE, "runtime"), { recursive: true });
  for (const name of ["environments", "runtime/bundle"]) await symlink(join(ROOT, name), join(PACKAGE, name));
  await writeFile(marker, build);
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program beside the frameworks, by the newer Node. One that hangs is killed with all it started. */
async function runBeside(
  file: string,
  env: Readonly<Record<string, string>>,
  killWhen?: Promise<unknown>,
): Promise<Ended> {
  const directory = await mkdtemp(join(FRAMEWORKS, "node_modules/.run-"));
  try {
    const copy = join(directory, basename(file));
    await cp(file, copy);
    return await ended(join(NODE_BIN, "node"), [copy], directory, env, killWhen);
  } finally {
    // What a killed one started may still write to its home.
    await rm(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** Compiles test/frameworks/types.ts against the frameworks' declarations and this package's. */
export async function compileTypes(): Promise<Ended> {
  const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
  return await ended(process.execPath, [tsc, "-p", FRAMEWORKS], ROOT, {});
}

/** Where the clients of models look for the endpoint and its key. */
export function endpointVariables(modelUrl: string): Readonly<Record<string, string>> {
  return {
    ...{ OPENAI_BASE_URL: `${modelUrl}/v1`, OPENAI_API_KEY: "sk-none" },
    ...{ ANTHROPIC_BASE_URL: modelUrl, ANTHROPIC_API_KEY: "sk-ant-none" },
  };
}

/**
 * Runs one of examples/frameworks with a state directory and a model's endpoint of the test's own.
 * @param killWhen kills it once this is so
 */
export async function runExample(
  name: string,
  stateDir: string,
  modelUrl: string,
  killWhen?: Promise<unknown>,
): Promise<Ended> {
  const env = {
    ...{ PYRO_STATE_DIR: stateDir, PYRO_POOL: "0", ...endpointVariables(modelUrl) },
    CLAUDE_CODE: join(ROOT, "test/hosts/node_modules/.bin/claude"),
    // It would try again for minutes.
    CLAUDE_CODE_MAX_RETRIES: "0",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    ...{ DISABLE_AUTOUPDATER: "1", DISABLE_TELEMETRY: "1", DISABLE_ERROR_REPORTING: "1" },
    ...{ MASTRA_TELEMETRY_DISABLED: "1", LANGCHAIN_CALLBACKS_BACKGROUND: "false" },
  };
  return await runBeside(join(EXAMPLES, `${name}.mjs`), env, killWhen);
}

/** Runs a program to its end. */
export function ended(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
  killWhen?: Promise<unknown>,
): Promise<Ended> {
  const child = spawn(program, args, {
    ...{ cwd, detached: true, stdio: ["ignore", "pipe", "pipe"] },
    env: {
      ...{ PATH: `${NODE_BIN}:${process.env["PATH"] ?? ""}`, HOME: cwd, NO_PROXY: "127.0.0.1,localhost" },
      ...env,
    },
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const late = setTimeout(() => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, RUN_MS);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    killWhen?.then(() => child.kill("SIGKILL"), reject);
    child.once("close", (code) => {
      clearTimeout(late);
      resolve({ code, stdout, stderr });
    });
  });
}
