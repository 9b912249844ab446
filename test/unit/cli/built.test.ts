import { execFile, spawn } from "node:child_process";
import { openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { builtId, firstOutput, PYRO, startBuilt } from "../../fakes/built-command.js";
import { startFakeDaemon, type FakeScript } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

/** The built command with a fake daemon of the same build. */
async function withDaemon<T>(
  body: (args: readonly string[], daemon: Awaited<ReturnType<typeof startFakeDaemon>>) => Promise<T>,
  script: FakeScript = {},
): Promise<T> {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path, { buildId: await builtId(), ...script });
  return await body(["--state-dir", state.path, "run", "debian:12"], daemon);
}

test("--version and --help need no daemon", async () => {
  const version = await startBuilt(["--version"]).ended;
  expect(version.stdout.toString()).toMatch(/^\d+\.\d+\.\d+\n$/);
  const help = await startBuilt(["--help"]).ended;
  expect(help).toMatchObject({ code: 0, stderr: "" });
});

test("standard input from a pipe is passed through and ends", async () => {
  await withDaemon(async (run) => {
    const child = startBuilt([...run, "--", "cat"], { stdio: ["pipe", "pipe", "pipe"] });
    child.stdin?.end("hi\n");
    expect(await child.ended).toMatchObject({ code: 0, stdout: Buffer.from("hi\n") });
  });
});

test("input that nobody reads keeps nobody", async () => {
  await withDaemon(async (run) => {
    const child = startBuilt([...run, "--", "exit", "5"], { stdio: ["pipe", "pipe", "pipe"] });
    child.stdin?.on("error", () => undefined);
    child.stdin?.write(Buffer.alloc(10_000_000));
    expect((await child.ended).code).toBe(5);
  });
});

test("/dev/null as standard input is an empty one", async () => {
  await withDaemon(async (run) => {
    const child = startBuilt([...run, "--", "cat"], { stdio: [openSync("/dev/null", "r"), "pipe", "pipe"] });
    expect(await child.ended).toMatchObject({ code: 0, stdout: Buffer.alloc(0) });
  });
});

test("Ctrl-C reaches the guest's command, and the status is 130", async () => {
  await withDaemon(async (run, daemon) => {
    const child = startBuilt([...run, "--", "sleep"]);
    await firstOutput(child);
    child.kill("SIGINT");
    expect((await child.ended).code).toBe(130);
    expect(daemon.abandoned).toEqual([]);
  });
});

test("a second Ctrl-C ends a command that ignores the first", async () => {
  await withDaemon(async (run, daemon) => {
    const child = startBuilt([...run, "--", "trap"]);
    await firstOutput(child);
    child.kill("SIGINT");
    await firstOutput(child);
    child.kill("SIGINT");
    expect((await child.ended).code).toBe(130);
    await expect.poll(() => daemon.abandoned).toContain("Run");
  });
});

test.each([
  ["SIGTERM", 143],
  ["SIGHUP", 129],
  ["SIGKILL", null],
] as const)("%s leaves no call behind", async (name, code) => {
  await withDaemon(async (run, daemon) => {
    const child = startBuilt([...run, "--", "trap"]);
    await firstOutput(child);
    child.kill(name);
    expect((await child.ended).code).toBe(code);
    await expect.poll(() => daemon.abandoned).toContain("Run");
  });
});

test("a reader that goes away ends the command quietly", async () => {
  await withDaemon(async (run, daemon) => {
    const words = [process.execPath, PYRO, ...run, "--", "flood", "1000000000"]
      .map((word) => `'${word}'`)
      .join(" ");
    const script = `${words} | head -c 17; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await new Promise<{ stdout: string; stderr: string }>((resolve) => {
      execFile("bash", ["-c", script], (_error, stdout, stderr) => resolve({ stdout, stderr }));
    });
    expect({ stdout, stderr }).toEqual({ stdout: "0123456789abcdef\n141\n", stderr: "" });
    await expect.poll(() => daemon.abandoned).toContain("Run");
  });
});

test("a slow reader holds the daemon back", async () => {
  await withDaemon(async (run) => {
    const child = spawn(process.execPath, [PYRO, ...run, "--", "flood", "300000000"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    await new Promise((resolve) => setTimeout(resolve, 600));
    // Nothing was read so far: had the command taken it all in, it would be that much larger.
    const resident = await readFile(`/proc/${child.pid ?? 0}/status`, "utf8");
    expect(Number(/VmRSS:\s+(\d+)/.exec(resident)?.[1])).toBeLessThan(200_000);
    let bytes = 0;
    child.stdout.on("data", (chunk: Buffer) => (bytes += chunk.length));
    const code = await new Promise((resolve) => child.once("close", resolve));
    expect({ code, bytes }).toEqual({ code: 0, bytes: 300_000_000 });
  });
});

test("arguments that are not UTF-8 reach the guest as they are", async () => {
  await withDaemon(async (run, daemon) => {
    const words = [process.execPath, PYRO, ...run].map((word) => `'${word}'`).join(" ");
    const script = `${words} --env "V=$(printf 'a\\377')" -- bytes "$(printf '\\376\\200')" ž`;
    await new Promise((resolve) => execFile("bash", ["-c", script], resolve));
    expect(daemon.specs[0]?.argv.map((word) => [...word])).toEqual([
      [...Buffer.from("bytes")],
      [0xfe, 0x80],
      [...Buffer.from("ž")],
    ]);
    expect(daemon.specs[0]?.env.map((entry) => [...entry])).toEqual([[...Buffer.from("V=a"), 0xff]]);
  });
});

test("a busy daemon of another build serves the call, with a word about it", async () => {
  const stop = () => ({ stopping: false, reason: "1 machine runs" });
  await withDaemon(
    async (run) => {
      const { code, stdout, stderr } = await startBuilt([...run, "--", "echo", "hi"]).ended;
      expect({ code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: "hi\n" });
      expect(stderr).toContain("another version");
    },
    { buildId: "another", daemon: { stop } },
  );
});

test("no variable of the host is sent to the guest", async () => {
  await withDaemon(async (run, daemon) => {
    await startBuilt([...run, "--", "bytes"], { env: { ...process.env, CANARY_VARIABLE: "seen" } }).ended;
    expect(daemon.specs[0]?.env).toEqual([]);
  });
});
