import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { cli } from "../../fakes/cli-host.js";
import { asWireError, type FakeScript } from "../../fakes/fake-daemon.js";
import { pyro } from "../../fakes/cli-with-daemon.js";

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
