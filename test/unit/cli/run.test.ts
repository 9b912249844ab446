import { Readable, Writable } from "node:stream";
import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import { cli, type CliSetup } from "../../fakes/cli-host.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

/** One `pyro run` against a fake daemon of its own. */
async function run(args: readonly string[], setup: CliSetup = {}) {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path);
  const ended = await cli(["--state-dir", state.path, "run", "debian:12", ...args], setup);
  await expect.poll(() => daemon.calls.at(-1)).toBe("Run");
  return { ...ended, spec: daemon.specs[0], abandoned: daemon.abandoned };
}

test("output is passed through and the status is the command's own", async () => {
  expect(await run(["--", "both"])).toMatchObject({ status: 3, stdout: "out\n" });
  expect(await run(["--", "exit", "7"])).toMatchObject({ status: 7, stdout: "" });
});

test.each([
  ["a signal's death as a shell shows it", ["kill-self", "SIGKILL"], 137],
  ["a segmentation fault", ["kill-self", "SIGSEGV"], 139],
  ["a timeout", ["timeout"], 124],
  ["a command that does not exist", ["missing"], 127],
  ["a command that cannot be executed", ["not-executable"], 126],
  ["a daemon that dies", ["crash"], 125],
])("the status says %s", async (_, argv, status) => {
  expect((await run(["--", ...argv])).status).toBe(status);
});

test("a failure of pyro shows code, message and hint", async () => {
  const { stderr } = await run(["--", "missing"]);
  expect(stderr).toBe('COMMAND_NOT_FOUND: "missing" is not in the guest\nhint: install it\n');
});

test("partial output of a command that timed out is kept, and a line says why it ended", async () => {
  const { stdout, stderr } = await run(["--", "timeout"]);
  expect(stdout).toBe("partial\n");
  expect(stderr).toContain("--timeout-seconds");
});

test("standard input reaches the command and ends with it", async () => {
  expect(await run(["--", "cat"], { stdin: "hi\n" })).toMatchObject({ status: 0, stdout: "hi\n" });
});

test("--json prints one document with the command's fields", async () => {
  const { status, stdout } = await run(["--json", "--", "both"]);
  expect(status).toBe(3);
  expect(JSON.parse(stdout)).toEqual({
    environment: "debian:12",
    stdout: "out\n",
    stderr: "err\n",
    stdout_truncated: false,
    stderr_truncated: false,
    stdout_bytes: 4,
    stderr_bytes: 4,
    exit_code: 3,
    signal: null,
    timed_out: false,
    out_of_memory: false,
    duration_ms: 12,
    startup_ms: 345,
    execution_mode: "guest",
    isolation: "software",
    guest_kernel: "6.1.0-fake",
  });
});

test("--json prints a failure as an error document", async () => {
  const { status, stdout, stderr } = await run(["--json", "--", "missing"]);
  expect(status).toBe(127);
  expect(JSON.parse(stdout)).toEqual({
    error: {
      code: "COMMAND_NOT_FOUND",
      message: '"missing" is not in the guest',
      hint: "install it",
      details: {},
      retryable: false,
    },
  });
  expect(stderr).not.toContain("COMMAND_NOT_FOUND");
});

test("every option reaches the daemon, variables with = in their values too", async () => {
  const options = ["--vcpu-count", "2", "--mem-mib", "512", "--timeout-seconds", "9", "--ttl-seconds", "99"];
  const { spec } = await run([
    ...options,
    "--network",
    "--no-pull",
    "--env",
    "A=b=c",
    "--env=D=",
    "--",
    "bytes",
    "-x",
    "--",
    "y",
  ]);
  expect(spec).toMatchObject({
    environment: "debian:12",
    vcpuCount: 2,
    memMib: 512,
    timeoutMs: 9000,
    ttlMs: 99_000,
    network: { mode: "egress" },
    noPull: true,
  });
  expect(spec?.argv.map((word) => Buffer.from(word).toString())).toEqual(["bytes", "-x", "--", "y"]);
  expect(spec?.env.map((entry) => Buffer.from(entry).toString())).toEqual(["A=b=c", "D="]);
});

test("a longer timeout gives the VM a longer life by itself", async () => {
  expect((await run(["--", "exit", "0"])).spec).toMatchObject({
    timeoutMs: 120_000,
    ttlMs: 600_000,
    noPull: false,
  });
  expect((await run(["--timeout-seconds", "3600", "--", "exit", "0"])).spec).toMatchObject({
    ttlMs: 3_720_000,
  });
});

test("arguments and variables that are not UTF-8 keep their bytes", async () => {
  const odd = Buffer.from([0x61, 0xff, 0xfe]);
  const text = odd.toString("utf8");
  const rawArgv = ["run", "debian:12", "--env", "--", "bytes"].map((word) => Buffer.from(word));
  rawArgv.splice(3, 0, Buffer.concat([Buffer.from("V="), odd]));
  rawArgv.push(odd, Buffer.from([0x80]));
  const { spec } = await run(["--env", `V=${text}`, "--", "bytes", text, "\ufffd"], { rawArgv });
  expect(spec?.argv.map((word) => [...word])).toEqual([[...Buffer.from("bytes")], [...odd], [0x80]]);
  expect(spec?.env.map((entry) => [...entry])).toEqual([[...Buffer.from("V="), ...odd]]);
});

test("the first Ctrl-C goes to the guest, and the status is 130", async () => {
  const ended = await run(["--", "sleep"], {
    during: async (send, stdout) => {
      await expect.poll(stdout).toContain("ready");
      send("SIGINT");
    },
  });
  expect(ended).toMatchObject({ status: 130, stdout: "ready\n" });
});

test("a second Ctrl-C ends a command that catches the first one", async () => {
  const ended = await run(["--", "trap"], {
    during: async (send, stdout) => {
      await expect.poll(stdout).toContain("ready");
      send("SIGINT");
      await expect.poll(stdout).toContain("got SIGINT");
      send("SIGINT");
    },
  });
  expect(ended.status).toBe(130);
  expect(ended.abandoned).toContain("Run");
});

test.each([
  ["SIGTERM", 143],
  ["SIGHUP", 129],
])("%s ends the run and its VM, with its own status", async (name, status) => {
  const ended = await run(["--", "trap"], {
    during: async (send, stdout) => {
      await expect.poll(stdout).toContain("ready");
      send(name);
    },
  });
  expect(ended.status).toBe(status);
  expect(ended.abandoned).toContain("Run");
});

test("with --json an interrupted run still prints one document", async () => {
  const ended = await run(["--json", "--", "trap"], {
    during: async (send) => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      send("SIGTERM");
    },
  });
  expect(ended.status).toBe(143);
  expect(JSON.parse(ended.stdout)).toMatchObject({ error: { code: "CANCELLED" } });
});

test("a reader that goes away ends the run quietly", async () => {
  const stdout = new Writable({
    write: (_chunk, _encoding, done) => done(Object.assign(new Error("write EPIPE"), { code: "EPIPE" })),
  });
  const ended = await run(["--", "flood", "10000000"], { stdout });
  expect(ended).toMatchObject({ status: 141, stderr: "" });
});

test("a failing standard input is named", async () => {
  const stdin = new Readable({
    read() {
      this.destroy(new Error("EIO: the terminal is gone"));
    },
  });
  const ended = await run(["--", "cat"], { stdin });
  expect(ended.status).toBe(125);
  expect(ended.stderr).toContain("the terminal is gone");
});

test("software emulation is said once per boot of the host", async () => {
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path);
  const once = () => cli(["--state-dir", state.path, "run", "debian:12", "--", "exit", "0"]);
  expect((await once()).stderr).toContain("software emulation is used");
  expect((await once()).stderr).toBe("");
  expect(await readdir(state.path)).toEqual(["daemon.sock", "emulation-notice"]);
});

test("on a terminal the phases pass by before the output", async () => {
  const { stderr } = await run(["--", "echo", "hi"], { tty: true });
  expect(stderr).toContain("\r\u001b[Kqueued it");
  expect(stderr).toContain("\r\u001b[Kbooting it");
});

test("control characters in an error cannot drive the terminal", async () => {
  const { stderr } = await cli(["run", "debian:12", "--\u001b[2J"]);
  expect(stderr).not.toContain("\u001b");
});
