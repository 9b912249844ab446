import { appendFile, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { cli, type CliSetup } from "../../fakes/cli-host.js";
import { buildFakeDaemonProgram } from "../../fakes/fake-daemon-program.js";
import { asWireError, startFakeDaemon, type FakeScript } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

async function pyro(args: readonly string[], setup: CliSetup & { script?: FakeScript } = {}) {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path, setup.script);
  return { ...(await cli(["--state-dir", state.path, ...args], setup)), calls: daemon.calls };
}

describe("env", () => {
  test("list shows what is on this host and what is not", async () => {
    const { status, stdout } = await pyro(["env", "list"]);
    expect(status).toBe(0);
    expect(stdout.split("\n")).toEqual([
      "ENVIRONMENT  SOURCE   SIZE    SHARED  LAST USE  TEMPLATE  DIGEST",
      "debian:12    curated  300 MB  -       -         cold      aaaaaaaaaaaa",
      "",
      "not on this host:",
      "  debian:12-build (fetches 250 MB)",
      "    Debian 12 with compilers",
      "",
    ]);
  });

  test("list --json carries the contract's fields", async () => {
    const { stdout } = await pyro(["env", "list", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      catalog_version: "2026-01",
      environments: [
        { name: "debian:12", installed: true, source: "curated", size_bytes: 300_000_000, template: "cold" },
        { name: "debian:12-build", installed: false, digest: null, size_bytes: 0 },
      ],
    });
  });

  test("inspect shows one environment, for people and as JSON", async () => {
    expect((await pyro(["env", "inspect", "debian:12"])).stdout).toContain(
      "packages      1 (--json lists them)",
    );
    expect((await pyro(["env", "inspect", "debian:12-build"])).stdout).toContain(
      "pyro env pull debian:12-build",
    );
    expect(JSON.parse((await pyro(["env", "inspect", "debian:12", "--json"])).stdout)).toMatchObject({
      packages: [{ name: "git", version: "1:2.39" }],
      created_at: "2023-11-14T22:13:20.000Z",
      image_path: "/cache/debian-12.img",
    });
  });

  test("pull tells its steps in lines where no terminal is, and the result on standard output", async () => {
    const { status, stdout, stderr } = await pyro(["env", "pull", "debian:12-build"]);
    expect(status).toBe(0);
    expect(stdout).toBe("debian:12-build is ready (0 B, 1.5 s)\n");
    expect(stderr.split("\n")).toEqual([
      "fetch it 0 B of 100 B (0 %)",
      "fetch it 50 B of 100 B (50 %)",
      "unpack it",
      "",
    ]);
  });

  test("pull draws a bar on a terminal", async () => {
    const { stderr } = await pyro(["env", "pull", "debian:12-build"], { tty: true });
    expect(stderr).toContain("\r\u001b[K[############............]  50 % fetch it 50 B of 100 B");
  });

  test("pull --json keeps progress off standard output", async () => {
    const { stdout } = await pyro(["env", "pull", "debian:12-build", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ reused: false, repaired: false, duration_ms: 1500 });
  });

  test("pull of what is there says so", async () => {
    expect((await pyro(["env", "pull", "debian:12"])).stdout).toBe(
      "debian:12 is on this host and whole (300 MB)\n",
    );
  });

  test("push tells its steps, and where the image is", async () => {
    const { status, stdout, stderr } = await pyro(["env", "push", "debian:12", "registry.test/team/it"]);
    expect(status).toBe(0);
    expect(stdout).toBe(
      `registry.test/team/it:latest is pushed (30 MB, 20 MB of it new there, 2.5 s)\nsha256:${"1".repeat(64)}\n1 socket is left out: no image carries them\n`,
    );
    expect(stderr).toBe("pack it 50 B of 100 B (50 %)\nupload it 10 B of 30 B (33 %)\n");
    const { stdout: json } = await pyro(["env", "push", "debian:12", "registry.test/team/it", "--json"]);
    expect(JSON.parse(json)).toMatchObject({
      ...{ environment: "debian:12", reference: "registry.test/team/it:latest", same_image: false },
      ...{ size_bytes: 30_000_000, uploaded_bytes: 20_000_000, left_out: 1, duration_ms: 2500 },
    });
  });

  test("an unknown environment is a failure with its hint, status 1", async () => {
    expect(await pyro(["env", "pull", "nope"])).toMatchObject({
      status: 1,
      stderr: 'UNKNOWN_ENVIRONMENT: there is no environment "nope"\nhint: run `pyro env list`\n',
    });
  });

  test("prune says what went", async () => {
    expect((await pyro(["env", "prune"])).stdout).toBe("nothing to remove\n");
    const removed = "removed, and freed 300 MB:\n  debian:12\n";
    expect((await pyro(["env", "prune", "--all"])).stdout).toBe(removed);
    expect((await pyro(["env", "prune", "--older-than", "30d"])).stdout).toBe(removed);
    expect((await pyro(["env", "prune", "--older-than", "1w", "--dry-run"])).stdout).toBe(
      "would remove, and free 300 MB:\n  debian:12\n",
    );
    expect(await pyro(["env", "prune", "--older-than", "soon"])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("30d, 12h") as string,
    });
  });

  test("delete names what went, and what is not there", async () => {
    expect((await pyro(["env", "delete", "debian:12"])).stdout).toBe(
      "environment debian:12 is deleted: 300 MB freed\n",
    );
    expect((await pyro(["env", "delete", "nope"])).stderr).toContain("UNKNOWN_ENVIRONMENT");
  });

  test("build streams its steps and what they print, which drives no terminal, and ends with one record", async () => {
    const built = await pyro(["env", "build", "mine:1", "--from", "debian:12", "--run", "make it"]);
    const stdout = "mine:1 is ready (300 MB, 2.5 s; 0 of 1 steps were there)\n";
    expect(built).toMatchObject({ status: 0, stdout, calls: expect.arrayContaining(["Build"]) as unknown });
    expect(built.stderr).toContain("[1/1] RUN make it\nmade ^[[2J\n");
    await using state = await temporaryState();
    const file = join(state.path, "Dockerfile");
    await writeFile(file, "FROM debian:12\n");
    const ofFile = await pyro(["env", "build", "mine:1", "--file", file, "--json"]);
    expect(JSON.parse(ofFile.stdout)).toMatchObject({
      environment: { name: "mine:1", source: "build" },
      ...{ reused: false, step_count: 1, cached_count: 0, duration_ms: 2500 },
      warnings: [`${file}:3: LABEL was left out`],
    });
  });

  test("Ctrl-C ends a pull with status 130", async () => {
    const pull = async function* () {
      yield { event: { case: "progress" as const, value: { phase: "fetch", bytesTotal: 10n } } };
      await new Promise(() => undefined);
    };
    const ended = await pyro(["env", "pull", "x"], {
      script: { environment: { pull } },
      during: async (send) => {
        await new Promise((resolve) => setTimeout(resolve, 200));
        send("SIGINT");
      },
    });
    expect(ended.status).toBe(130);
  });
});

describe("prepare", () => {
  test("says what was made and what was there, for debian:12 where nothing is named", async () => {
    const { status, stdout, stderr } = await pyro(["prepare"]);
    expect([status, stderr]).toEqual([0, "template it\n"]);
    expect(stdout.split("\n")).toEqual([
      "environment  reused  12 ms",
      "template     reused  3.4 s",
      "debian:12 was ready already",
      "",
    ]);
  });

  test("--json carries the contract's fields; --force makes the template anew", async () => {
    const { stdout } = await pyro(["prepare", "debian:12", "--force", "--json"]);
    expect(JSON.parse(stdout)).toEqual({
      environment: "debian:12",
      reused: false,
      steps: [
        { name: "environment", what: "reused", duration_ms: 12 },
        { name: "template", what: "made", duration_ms: 3400 },
      ],
      duration_ms: 3412,
    });
  });

  test("pulls what is missing, with its progress", async () => {
    const { stdout, stderr } = await pyro(["prepare", "debian:12-build"]);
    expect(stderr).toBe("fetch it 50 B of 100 B (50 %)\ntemplate it\n");
    expect(stdout).toContain("debian:12-build is ready (3.4 s)");
  });

  test("refuses a network, and an environment that there is not", async () => {
    expect(await pyro(["prepare", "--network"])).toMatchObject({
      status: 1,
      stderr: "NETWORK_NOT_AVAILABLE: no network\nhint: run without --network\n",
    });
    expect((await pyro(["prepare", "nope"])).stderr).toContain("UNKNOWN_ENVIRONMENT");
  });
});

describe("doctor", () => {
  test("shows each check with its hint, and exits 1 when something needs mending", async () => {
    const { status, stdout } = await pyro(["doctor"]);
    expect(status).toBe(1);
    expect(stdout.split("\n").slice(0, 3)).toEqual([
      "ok    qemu: QEMU 7.2",
      "FAIL  disk: 1 GB is free",
      "      hint: free some",
    ]);
    expect(stdout).toMatch(/^ {6}project source: \S/m);
  });

  test("--json carries the contract's fields", async () => {
    const { stdout, stderr } = await pyro(["doctor", "--json", "--environment", "debian:12-build"]);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({
      ok: false,
      platform: "linux-x64",
      accelerators: [
        { name: "kvm", usable: false, reason: "/dev/kvm cannot be opened", boot_ms: null, chosen: false },
        { name: "software", usable: true, reason: "its probe VM booted", boot_ms: 2800, chosen: true },
      ],
      kvm: { usable: false, reason: "/dev/kvm cannot be opened" },
      runtime: { version: "0.1.0", qemu_version: "7.2" },
      disk: { free_bytes: 1_000_000_000 },
      memory: { available_bytes: 2_000_000_000 },
      environment: { name: "debian:12-build", readiness: "cold" },
      // Of the working directory, which is this checkout, or a copy of it without Git.
      project_source: expect.stringMatching(/^(\/.+ \(Git checkout, |none, )/) as string,
      checks: [
        { name: "qemu", ok: true, message: "QEMU 7.2", hint: "", fix: [] },
        { name: "disk", ok: false, message: "1 GB is free", hint: "free some", fix: ["true", "mend-it"] },
      ],
    });
  });

  test("--fix shows the command, asks, runs it and proves the check again", async () => {
    const refused = await pyro(["doctor", "--fix"]);
    expect(refused.stderr).toContain("fix: true mend-it");
    expect(refused.calls.filter((name) => name === "Diagnose")).toHaveLength(1);
    const agreed = await pyro(["doctor", "--fix"], { confirm: true });
    expect(agreed.calls.filter((name) => name === "Diagnose")).toHaveLength(2);
    const unasked = await pyro(["doctor", "--fix", "--yes"]);
    expect(unasked.calls.filter((name) => name === "Diagnose")).toHaveLength(2);
  });

  test("a host whose daemon does not start gets the reason as the failed check", async () => {
    await using fake = await buildFakeDaemonProgram();
    await using state = await temporaryState();
    const ended = await cli(["--state-dir", state.path, "doctor"], { daemonProgram: fake.program("refuse") });
    expect(ended.status).toBe(1);
    expect(ended.stdout).toContain("FAIL  daemon: QEMU_NOT_FOUND: no qemu here");
  });
});

test("demo has the same keys on every run", async () => {
  const script: FakeScript = {};
  const command = async function* () {
    await Promise.resolve();
    yield {
      event: { case: "stdout" as const, value: Buffer.from("git version 2\n6.1.0-fake\npyro-agent\n") },
    };
    const value = { environment: "debian:12", exitCode: 0, isolation: "software", guestKernel: "6.1.0-fake" };
    yield { event: { case: "result" as const, value } };
  };
  const { status, stdout } = await pyro(["demo", "--json"], { script: { ...script, run: { run: command } } });
  expect(status).toBe(0);
  const record = JSON.parse(stdout) as Record<string, unknown>;
  expect(record).toMatchObject({
    environment: "debian:12",
    pulled: false,
    guest_init: "pyro-agent",
    exit_code: 0,
  });
  expect(Object.keys(record)).toEqual([
    "environment",
    "pulled",
    "command",
    "output",
    "exit_code",
    "isolation",
    "guest_kernel",
    "host_kernel",
    "guest_init",
    "host_init",
    "startup_ms",
    "command_ms",
    "total_ms",
  ]);
  expect((await pyro(["demo"], { script: { run: { run: command } } })).stdout).toContain(
    "process 1       guest pyro-agent",
  );
});

describe("daemon", () => {
  let fake: Awaited<ReturnType<typeof buildFakeDaemonProgram>>;
  beforeAll(async () => {
    fake = await buildFakeDaemonProgram();
  });
  afterAll(() => fake[Symbol.asyncDispose]());

  test("status shows the one that runs, and starts none", async () => {
    expect((await pyro(["daemon", "status"])).stdout).toContain("machines   1 running, 0 queued");
    await using state = await temporaryState();
    const none = await cli(["--state-dir", state.path, "daemon", "status"], {
      daemonProgram: fake.program(),
    });
    expect(none.status).toBe(0);
    expect(none.stdout).toContain("no daemon runs");
    const json = await cli(["--state-dir", state.path, "daemon", "status", "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ running: false, pid: null, state_dir: state.path });
  });

  test("stop ends it, or says what still runs", async () => {
    expect((await pyro(["daemon", "stop"])).stdout).toBe("stopped\n");
    const stop = () => ({ stopping: false, reason: "1 machine runs" });
    expect(await pyro(["daemon", "stop"], { script: { daemon: { stop } } })).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("DAEMON_BUSY: the daemon still works: 1 machine runs") as string,
    });
    await using state = await temporaryState();
    expect((await cli(["--state-dir", state.path, "daemon", "stop"])).stdout).toBe("no daemon was running\n");
  });

  test("run hands the state directory to the daemon", async () => {
    const seen: unknown[] = [];
    const runDaemon = (options: unknown) => Promise.resolve(void seen.push(options));
    expect(await cli(["daemon", "run", "--json", "--state-dir", "/x"], { runDaemon })).toMatchObject({
      status: 0,
    });
    const fail = () => Promise.reject(new PyroError("DAEMON_ALREADY_RUNNING", "one serves"));
    const refused = await cli(["daemon", "run", "--json"], { runDaemon: fail });
    expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: "DAEMON_ALREADY_RUNNING" } });
    expect(seen).toEqual([{ stateDir: "/x" }]);
  });

  test("logs prints the end of the file, also while no daemon runs", async () => {
    await using state = await temporaryState();
    const logs = (...args: string[]) => cli(["--state-dir", state.path, "daemon", "logs", ...args]);
    expect(await logs()).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("no daemon ran yet") as string,
    });
    await writeFile(join(state.path, "daemon.log"), "one\ntwo\nthree\n");
    expect((await logs("--tail-lines", "2")).stdout).toBe("two\nthree\n");
    expect(JSON.parse((await logs("--json")).stdout)).toMatchObject({ lines: ["one", "two", "three"] });
  });

  test("logs --follow prints what is added, also after a rotation, until Ctrl-C", async () => {
    await using state = await temporaryState();
    const path = join(state.path, "daemon.log");
    await writeFile(path, "one\n");
    const ended = await cli(["--state-dir", state.path, "daemon", "logs", "--follow"], {
      during: async (send, stdout) => {
        await expect.poll(stdout).toBe("one\n");
        await appendFile(path, "two\n");
        await expect.poll(stdout).toBe("one\ntwo\n");
        await rename(path, `${path}.1`);
        await writeFile(path, "three\n");
        await expect.poll(stdout).toBe("one\ntwo\nthree\n");
        send("SIGINT");
      },
    });
    expect(ended.status).toBe(130);
  });
});

describe("wrong usage", () => {
  test.each([
    [["bogus"], 'unknown command "bogus"', "there are: doctor, env"],
    [["evn"], 'unknown command "evn"', "there are:"],
    [
      ["env"],
      "pyro env needs one of: list, pull, build, save, push, inspect, delete, prune",
      "pyro env --help",
    ],
    [["env", "lst"], 'unknown command "lst"', "there are: list, pull"],
    [["env", "list", "extra"], "too many arguments", "--help"],
    [["env", "pull"], "missing required argument 'environment'", "--help"],
    [["env", "list", "--bogus"], "unknown option '--bogus'", "--help"],
    [["--bogus"], "unknown option '--bogus'", "--help"],
    [["--state-dir", "", "env", "list"], "--state-dir is empty", "name a directory"],
    [["daemon", "logs", "--tail-lines", "0"], "--tail-lines: Too small", "--help"],
    [["mcp", "serve", "--profile", "nonsense"], '"vm-run"', "--help"],
    [["mcp", "serve", "--profile", "vm-run", "--mode", "inspect"], "exclude each other", "give one"],
  ])("%j is refused with status 2", async (argv, message, hint) => {
    const { status, stdout, stderr } = await cli(argv);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    const [first, second] = stderr.split("\n");
    expect(first).toContain("INVALID_ARGUMENT: ");
    expect(first).toContain(message);
    expect(second).toContain(hint);
  });

  test.each([
    [["run"], "missing required argument"],
    [["run", "debian:12", "git", "--version"], "unknown option '--version'"],
    [["run", "debian:12", "--timeout-seconds", "soon", "--", "true"], '(given "soon")'],
    [["run", "debian:12", "--vcpu-count", "0", "--", "true"], "--vcpu-count: Too small"],
    [["run", "debian:12", "--mem-mib", "1.5", "--", "true"], "--mem-mib"],
    [["run", "debian:12", "--env", "NAME", "--", "true"], '--env "NAME" is not NAME=VALUE'],
    [["run", "debian:12", "--env", "=x", "--", "true"], '--env "=x" is not NAME=VALUE'],
  ])("%j keeps the statuses of commands free: 125", async (argv, message) => {
    const { status, stderr } = await cli(argv);
    expect(status).toBe(125);
    expect(stderr).toContain(message);
  });

  test("--allow-host-compat is answered by the fixed words", async () => {
    const { stderr } = await cli(["run", "debian:12", "--allow-host-compat", "--", "true"]);
    expect(stderr).toMatch(/^HOST_COMPAT_NOT_SUPPORTED: .*commands never run on the host/);
  });

  test("with --json it is an error document", async () => {
    const { status, stdout, stderr } = await cli(["env", "lst", "--json"]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "INVALID_ARGUMENT" } });
  });

  test("--json behind -- belongs to the guest's command", async () => {
    const { stdout, status } = await pyro(["run", "debian:12", "--", "echo", "--json"]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "--json\n" });
  });
});

test("a daemon's defect is shown as one, with where to look", async () => {
  const list = () => {
    throw asWireError(new PyroError("INTERNAL", "boom", { hint: "see `pyro daemon logs`" }));
  };
  expect(await pyro(["env", "list"], { script: { environment: { list } } })).toMatchObject({
    status: 1,
    stderr: "INTERNAL: boom\nhint: see `pyro daemon logs`\n",
  });
});

test("the process's own arguments are read from the kernel", async () => {
  const { kernelArguments } = await import("../../../src/cli/raw-arguments.js");
  const line = await readFile("/proc/self/cmdline");
  const last = line.toString().split("\0").at(-2) ?? "";
  expect(kernelArguments(line, 1).map((word) => Buffer.from(word).toString())).toEqual([last]);
  expect(kernelArguments(line, 0)).toEqual([]);
});
