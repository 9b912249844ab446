import { execFile, spawnSync } from "node:child_process";
import { chmod, mkdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { networkVariablesForDaemon } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { Pyro } from "../../../src/sdk/index.js";
import { buildFakeDaemonProgram } from "../../fakes/fake-daemon-program.js";
import { builtId } from "../../fakes/built-command.js";
import { asWireError, startFakeDaemon } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

let fake: Awaited<ReturnType<typeof buildFakeDaemonProgram>>;
beforeAll(async () => {
  fake = await buildFakeDaemonProgram();
});
afterAll(() => fake[Symbol.asyncDispose]());

const run = { environment: "debian:12", argv: ["exit", "0"] } as const;

/** Waits until the process is gone. */
async function gone(pid: number): Promise<void> {
  await expect
    .poll(() => {
      try {
        process.kill(pid, 0);
        return "alive";
      } catch {
        return "gone";
      }
    })
    .toBe("gone");
}

test("the daemon is started on demand, serves, and is stopped", async () => {
  await using state = await temporaryState();
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram: fake.program() });
  expect(await pyro.daemonStatus()).toMatchObject({
    running: false,
    pid: null,
    logPath: join(state.path, "daemon.log"),
  });
  expect((await pyro.runInVm(run)).exitCode).toBe(0);
  const status = await pyro.daemonStatus();
  expect(status).toMatchObject({ running: true, stateDir: state.path, isolation: "software" });
  expect(await pyro.stopDaemon()).toEqual({ wasRunning: true });
  await gone(status.pid ?? 0);
  expect(await pyro.stopDaemon()).toEqual({ wasRunning: false });
  // The next call starts another one.
  expect((await pyro.runInVm(run)).exitCode).toBe(0);
  await pyro.stopDaemon();
});

test("many clients at once share one daemon", async () => {
  await using state = await temporaryState();
  const clients = Array.from(
    { length: 4 },
    () => new Pyro({ stateDir: state.path, daemonProgram: fake.program() }),
  );
  const results = await Promise.all(clients.flatMap((pyro) => [pyro.runInVm(run), pyro.listEnvironments()]));
  expect(results).toHaveLength(8);
  const pids = await Promise.all(clients.map(async (pyro) => (await pyro.daemonStatus()).pid));
  expect(new Set(pids).size).toBe(1);
  await clients[0]?.stopDaemon();
  await gone(pids[0] ?? 0);
  await Promise.all(clients.map((pyro) => pyro[Symbol.asyncDispose]()));
});

test("the daemon inherits no variable of its client but PATH, HOME, LANG and those about the network", async () => {
  await using state = await temporaryState();
  vi.stubEnv("CANARY_VARIABLE", "seen");
  vi.stubEnv("NO_PROXY", "example.org");
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram: fake.program() });
  await pyro.listEnvironments();
  const { pid } = await pyro.daemonStatus();
  const names = (await readFile(`/proc/${pid ?? 0}/environ`, "utf8"))
    .split("\0")
    .map((entry) => entry.split("=")[0]);
  await pyro.stopDaemon();
  const ofTheNetwork = Object.keys(networkVariablesForDaemon());
  vi.unstubAllEnvs();
  expect(ofTheNetwork).toContain("NO_PROXY");
  expect(names.filter((name) => name !== "").sort()).toEqual(
    ["HOME", "LANG", "PATH", ...ofTheNetwork].sort(),
  );
});

test("a daemon that refuses to start gives its own error", async () => {
  await using state = await temporaryState();
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram: fake.program("refuse") });
  await expect(pyro.listEnvironments()).rejects.toMatchObject({
    code: "QEMU_NOT_FOUND",
    message: "no qemu here",
    hint: "apt-get install it",
  });
});

test("a daemon that ends with garbage is DAEMON_START_FAILED with the end of its output", async () => {
  await using state = await temporaryState();
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram: fake.program("garbage") });
  const error = await pyro.listEnvironments().catch((thrown: unknown) => thrown as PyroError);
  expect(error).toMatchObject({ code: "DAEMON_START_FAILED", retryable: true });
  expect((error as PyroError).hint).toContain("a stack trace");
});

test("a program that is not there is an error that names it", async () => {
  await using state = await temporaryState();
  const daemonProgram = { program: "/no/such/node", args: [] };
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram });
  await expect(pyro.listEnvironments()).rejects.toMatchObject({
    message: expect.stringContaining("/no/such/node") as string,
  });
});

test("a caller that gives up does not wait for the daemon to start", async () => {
  await using state = await temporaryState();
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram: fake.program("silent") });
  await expect(pyro.listEnvironments({ timeoutMs: 100 })).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
  });
});

test("a socket that nobody answers on is DAEMON_UNREACHABLE", async () => {
  await using state = await temporaryState();
  const server = createServer((socket) => socket.resume());
  await new Promise<void>((resolve) => server.listen(join(state.path, "daemon.sock"), resolve));
  await using pyro = new Pyro({ stateDir: state.path });
  const failure = pyro.daemonStatus();
  await expect(failure).rejects.toMatchObject({ code: "DAEMON_UNREACHABLE", retryable: true });
  await new Promise((resolve) => server.close(resolve));
}, 20_000);

test("a stale socket is no obstacle", async () => {
  await using state = await temporaryState();
  const path = join(state.path, "daemon.sock");
  const leave = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
  expect(spawnSync(process.execPath, ["-e", leave]).signal).toBe("SIGKILL");
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram: fake.program() });
  expect((await pyro.listEnvironments()).environments).toHaveLength(2);
  await pyro.stopDaemon();
});

test("a daemon that is leaving hands the call to the next one", async () => {
  await using state = await temporaryState();
  const leaving = await startFakeDaemon(state.path, {
    environment: {
      list: () => {
        setTimeout(() => void leaving[Symbol.asyncDispose](), 30);
        throw asWireError(new PyroError("DAEMON_STOPPING", "the daemon is leaving"), Code.Unavailable);
      },
    },
  });
  await using pyro = new Pyro({ stateDir: state.path, daemonProgram: fake.program() });
  expect((await pyro.listEnvironments()).environments).toHaveLength(2);
  expect((await pyro.daemonStatus()).pid).not.toBe(process.pid);
  await pyro.stopDaemon();
});

test("a busy daemon is not stopped without force", async () => {
  await using state = await temporaryState();
  const stop = ({ force }: { force: boolean }) => ({
    stopping: force,
    reason: force ? "" : "1 machine runs",
  });
  await using _daemon = await startFakeDaemon(state.path, { daemon: { stop } });
  await using pyro = new Pyro({ stateDir: state.path });
  await expect(pyro.stopDaemon()).rejects.toMatchObject({
    code: "DAEMON_BUSY",
    message: "the daemon still works: 1 machine runs",
    hint: expect.stringContaining("--force") as string,
  });
});

test("a state directory below a path of more than 107 bytes works", async () => {
  await using state = await temporaryState();
  const long = join(state.path, "d".repeat(120));
  await mkdir(long, { mode: 0o700 });
  await using _daemon = await startFakeDaemon(long);
  await using pyro = new Pyro({ stateDir: long });
  expect((await pyro.runInVm(run)).exitCode).toBe(0);
});

test("a missing state directory is made private, with its parents", async () => {
  await using state = await temporaryState();
  const path = join(state.path, "a/b");
  await using pyro = new Pyro({ stateDir: path, daemonProgram: fake.program() });
  await pyro.listEnvironments();
  await pyro.stopDaemon();
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  expect((await stat(dirname(path))).mode & 0o777).toBe(0o700);
});

test.each([
  ["that others can read", async (path: string) => await chmod(path, 0o755), "chmod 700"],
  [
    "that is a symbolic link",
    async (path: string) => {
      await rm(path, { recursive: true });
      await mkdir(`${path}-real`, { mode: 0o700 });
      await symlink(`${path}-real`, path);
    },
    "--state-dir",
  ],
  [
    "that is a file",
    async (path: string) => {
      await rm(path, { recursive: true });
      await writeFile(path, "");
    },
    "--state-dir",
  ],
])("a state directory %s is refused", async (_, prepare, hint) => {
  await using state = await temporaryState();
  const path = join(state.path, "state");
  await mkdir(path, { mode: 0o700 });
  await prepare(path);
  await using pyro = new Pyro({ stateDir: path, daemonProgram: fake.program() });
  await expect(pyro.listEnvironments()).rejects.toMatchObject({
    code: "STATE_NOT_PRIVATE",
    hint: expect.stringContaining(hint) as string,
  });
});

test("a place that cannot be written to is STATE_NOT_WRITABLE with the option to use", async () => {
  await using pyro = new Pyro({ stateDir: "/proc/pyro-state", daemonProgram: fake.program() });
  await expect(pyro.listEnvironments()).rejects.toMatchObject({
    code: "STATE_NOT_WRITABLE",
    hint: expect.stringContaining("--state-dir") as string,
  });
});

test.each([
  ["runInVm", 'pyro.runInVm({ environment: "debian:12", argv: ["true"] })'],
  ["pullEnvironment", 'pyro.pullEnvironment("debian:12")'],
  ["doctor", "pyro.doctor()"],
])("an idle program ends by itself, though the daemon ended the stream of %s late", async (_, call) => {
  await using state = await temporaryState();
  const late = <T>(answer: T) =>
    async function* () {
      yield answer;
      await new Promise((resolve) => setTimeout(resolve, 100));
    };
  const environment = { name: "debian:12" };
  await using _daemon = await startFakeDaemon(state.path, {
    buildId: await builtId(),
    run: { run: late({ event: { case: "result", value: { exitCode: 0 } } }) },
    environment: { pull: late({ event: { case: "result", value: { environment } } }) },
    doctor: { diagnose: late({ event: { case: "report", value: { ok: true } } }) },
  });
  const program = `
    import { Pyro } from ${JSON.stringify(join(import.meta.dirname, "../../../dist/index.js"))};
    const pyro = new Pyro({ stateDir: ${JSON.stringify(state.path)} });
    await ${call};
    console.log("done");`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], {
    timeout: 10_000,
  });
  expect(stdout).toBe("done\n");
});
