import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { Pyro } from "../../src/sdk/index.js";
import { directoriesFor } from "../../src/kit/index.js";

const execute = promisify(execFile);

export const PYRO = join(import.meta.dirname, "../../bin/pyro");

export interface Result {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stateDir?: string;
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Starts the built command as a user would; stdin is empty unless it is given. A daemon that it starts keeps no pool
 * unless PYRO_POOL is given: tests count machines.
 */
export function start(
  args: readonly string[],
  options: RunOptions = {},
): ChildProcess & { done: Promise<Result> } {
  const global = options.stateDir === undefined ? [] : ["--state-dir", options.stateDir];
  const child = spawn(process.execPath, [PYRO, ...global, ...args], {
    env: { ...process.env, PYRO_POOL: "0", ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.gid ?? options.uid }),
  });
  const stdout: Buffer[] = [];
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.on("error", () => undefined);
  if (options.input !== undefined) child.stdin.end(options.input);
  else child.stdin.end();
  const done = new Promise<Result>((resolve) => {
    child.on("close", (code, signal) => resolve({ code, signal, stdout: Buffer.concat(stdout), stderr }));
  });
  return Object.assign(child, { done });
}

/** Runs the built command to its end. */
export function pyro(args: readonly string[], options: RunOptions = {}): Promise<Result> {
  return start(args, options).done;
}

/**
 * The built SDK in this process: it asks the state directory's daemon, and starts one without a pool where there is none.
 * Dispose of it before the state.
 */
export async function client(stateDir: string): Promise<Pyro> {
  process.env["PYRO_POOL"] = "0";
  const built = join(import.meta.dirname, "../../dist/index.js");
  const sdk = (await import(pathToFileURL(built).href)) as { Pyro: typeof Pyro };
  return new sdk.Pyro({ stateDir });
}

/** What a command itself wrote, without what pyro says beside it of its network. */
export function withoutNetworkWords(stderr: string): string {
  return stderr.replace(/^pyro: network: .*\n/m, "");
}

/** The one JSON document that `--json` prints. */
export function json(result: Result): Record<string, unknown> {
  return JSON.parse(result.stdout.toString()) as Record<string, unknown>;
}

export interface TestState extends AsyncDisposable {
  readonly path: string;
}

/** The environments that `make test-vm` made, by their files: a user's own are not for tests. */
const ENVIRONMENTS = ["debian_12", "debian_12-build"];

/**
 * Copies what `make test-vm` made of the user's cache: environments with their images, the templates unless `templates`
 * is false, and what was found out about this host.
 */
export async function copyCache(
  to: string,
  { environments = ENVIRONMENTS, templates = true } = {},
): Promise<void> {
  // PYRO_TEST_CACHE: environments from elsewhere, where the usual place is another's.
  const cache = process.env["PYRO_TEST_CACHE"] ?? directoriesFor().cache;
  const copy = async (directory: string, names: readonly string[]): Promise<void> => {
    await mkdir(join(to, directory), { recursive: true });
    const sources = names.map((name) => join(cache, directory, name));
    // Sparse: a template's memory is mostly holes.
    if (sources.length > 0) await execute("cp", ["-a", "--sparse=always", ...sources, join(to, directory)]);
  };
  const ofAll = ["environments", "images", "pulls", "uses", ...(templates ? [] : ["templates"])];
  await copy(
    "",
    (await readdir(cache)).filter((name) => !ofAll.includes(name)),
  );
  const manifests = environments.map((name) => `${name}.json`);
  await copy("environments", manifests);
  const images = manifests.map(async (name) => {
    const manifest = await readFile(join(cache, "environments", name), "utf8");
    const { digest } = JSON.parse(manifest) as { digest: string };
    return `${digest.replace(":", "-")}.qcow2`;
  });
  await copy("images", await Promise.all(images));
}

/**
 * A state directory of its own, with a copy of the cache that `make test-vm` made. Disposing of it stops its daemon,
 * proves that nothing of it is left running, and removes it.
 */
export async function testState(
  options: { readonly environments?: false; readonly templates?: boolean } = {},
): Promise<TestState> {
  const path = await mkdtemp(join(tmpdir(), "pyro-test-"));
  const environments = options.environments === false ? [] : ENVIRONMENTS;
  await copyCache(join(path, "cache"), { environments, templates: options.templates ?? true });
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await pyro(["daemon", "stop", "--force"], { stateDir: path });
      const left = await leftovers(path);
      await rm(path, { recursive: true, force: true });
      if (left.length > 0) throw new Error(`left behind:\n${left.join("\n")}`);
    },
  };
}

/** What nothing owns any more once the daemon of the state directory is gone: processes, machines, temporary files. */
export async function leftovers(stateDir: string): Promise<string[]> {
  const found: string[] = [];
  const machines = await readdir(join(stateDir, "vms")).catch(() => []);
  for (const id of machines) found.push(`machine directory ${id}`);
  for (const id of await readdir(join(stateDir, "workspaces")).catch(() => [])) {
    found.push(`workspace ${id}`);
  }
  for (const id of await readdir(join(stateDir, "kept-vms")).catch(() => [])) found.push(`VM ${id}`);
  for (const { pid, line, cwd } of await processes()) {
    if (line.includes(stateDir) || cwd.startsWith(stateDir))
      found.push(`process ${pid}: ${line.slice(0, 200)}`);
  }
  for (const name of await readdir(stateDir, { recursive: true }).catch(() => [])) {
    if (/\.tmp$|scratch-|\.sock$|\.pyro-[0-9a-f]{16}|export-pending$/.test(name)) found.push(`file ${name}`);
  }
  return found;
}

/** All processes of this machine but our own parents: command lines and working directories. */
export async function processes(): Promise<{ pid: number; line: string; cwd: string }[]> {
  const list = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid || Number(name) === process.ppid) continue;
    try {
      const line = (await readFile(`/proc/${name}/cmdline`, "utf8")).replaceAll("\0", " ").trim();
      const cwd = await readlink(`/proc/${name}/cwd`).catch(() => "");
      if (line !== "") list.push({ pid: Number(name), line, cwd });
    } catch {
      // It ended meanwhile.
    }
  }
  return list;
}

/** The QEMU processes of a state directory. */
export async function machinesOf(stateDir: string): Promise<number[]> {
  return (await processes())
    .filter(({ line, cwd }) => line.includes("qemu-system") && cwd.startsWith(join(stateDir, "vms")))
    .map(({ pid }) => pid);
}

/** A daemon with a failpoint (src/kit/failpoint.ts). */
export interface FaultyDaemon {
  readonly pid: number;
  /** By which signal it ended. */
  readonly gone: Promise<string | null>;
  /** Whether it has ended at its failpoint, or been stopped there. */
  readonly met: () => boolean;
  /** Resolves when it stands still at its failpoint; rejects when it ends before. */
  readonly stopped: () => Promise<void>;
}

/** A daemon that kills itself by SIGKILL at the named step, or with `name=SIGSTOP` stops there. */
export async function daemonWithFailpoint(
  stateDir: string,
  failpoint: string,
  options: { readonly pool?: number } = {},
): Promise<FaultyDaemon> {
  const child = spawn(process.execPath, [PYRO, "--state-dir", stateDir, "daemon", "run"], {
    env: { ...process.env, PYRO_FAILPOINT: failpoint, PYRO_POOL: String(options.pool ?? 0) },
    stdio: "ignore",
  });
  const pid = child.pid ?? 0;
  let met = false;
  const gone = new Promise<string | null>((resolve) =>
    child.once("exit", (_, signal) => {
      met = true;
      resolve(signal);
    }),
  );
  await eventually("the daemon listens", async () => (await readdir(stateDir)).includes("daemon.sock"));
  const standsStill = async (): Promise<boolean> =>
    / T /.test((await readFile(`/proc/${pid}/stat`, "utf8")).replace(/^.*\)/, ""));
  return {
    ...{ pid, gone, met: () => met },
    stopped: async () => {
      await eventually(`the daemon stands still at ${failpoint}`, standsStill);
      met = true;
    },
  };
}

/** Resolves when `probe` gives true; fails after the time with what was waited for. */
export async function eventually(
  what: string,
  probe: () => Promise<boolean>,
  timeoutMs = 30_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await probe())) {
    if (Date.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
