import { readFile } from "node:fs/promises";
import { release } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  eventually,
  json,
  leftovers,
  machinesOf,
  pyro,
  start,
  testState,
  type TestState,
} from "./support.js";

describe("pyro run", () => {
  let state: TestState;
  beforeAll(async () => {
    state = await testState();
  });
  afterAll(() => state[Symbol.asyncDispose]());
  const run = (...args: string[]) => pyro(["run", "debian:12", ...args], { stateDir: state.path });

  it("runs in a kernel of its own, with the agent as init", async () => {
    const { code, stdout, stderr } = await run("--", "sh", "-c", "uname -r; cat /proc/1/comm; git --version");
    expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
    const [kernel, init, git] = stdout.toString().split("\n");
    expect(kernel).toMatch(/cloud-amd64$/);
    expect(kernel).not.toBe(release());
    expect(init).toBe("pyro-agent");
    expect(git).toMatch(/^git version /);
  });

  it("keeps the streams apart and gives the command's exit code", async () => {
    const { code, stdout, stderr } = await run("--", "sh", "-c", "echo out; echo err >&2; exit 7");
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 7, stdout: "out\n" });
    expect(stderr).toContain("err\n");
  });

  it("passes standard input through and ends with it", async () => {
    const input = Buffer.alloc(3_000_000, "0123456789\n");
    const { code, stdout } = await pyro(["run", "debian:12", "--", "cat"], { stateDir: state.path, input });
    expect(code).toBe(0);
    expect(stdout.equals(input)).toBe(true);
  });

  it("is not stuck by input that nobody reads", async () => {
    const { code } = await pyro(["run", "debian:12", "--", "true"], {
      stateDir: state.path,
      input: Buffer.alloc(50_000_000),
    });
    expect(code).toBe(0);
  });

  it("exits 124 on timeout, with the partial output and the whole tree gone", async () => {
    const script =
      "echo begun; (setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; trap '' TERM; while :; do sleep 1; done";
    const { code, stdout } = await run("--timeout-seconds", "2", "--json", "--", "sh", "-c", script);
    expect(code).toBe(124);
    expect(json({ code, stdout, stderr: "", signal: null })).toMatchObject({
      timed_out: true,
      stdout: "begun\n",
    });
    expect(await machinesOf(state.path)).toEqual([]);
  });

  it("says which signal killed a command, and exits as a shell would", async () => {
    const { code, stdout } = await run("--json", "--", "sh", "-c", "kill -SEGV $$");
    expect(code).toBe(139);
    expect(JSON.parse(stdout.toString())).toMatchObject({ signal: "SIGSEGV", exit_code: null });
  });

  it("answers Ctrl-C with 130 and leaves no machine", async () => {
    const child = start(["run", "debian:12", "--", "sh", "-c", "echo ready; exec sleep 100"], {
      stateDir: state.path,
    });
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    child.kill("SIGINT");
    expect((await child.done).code).toBe(130);
    await eventually("no machine", async () => (await machinesOf(state.path)).length === 0);
  });

  it("exits 127 for a command that does not exist and 126 for one that is not executable", async () => {
    const missing = await run("--", "no-such-command");
    expect({ code: missing.code, stderr: missing.stderr }).toMatchObject({ code: 127 });
    expect(missing.stderr).toMatch(/COMMAND_NOT_FOUND.*no-such-command/);
    expect(missing.stderr).toMatch(/hint: /);
    const refused = await run("--", "/etc/passwd");
    expect(refused.code).toBe(126);
    expect(refused.stderr).toContain("COMMAND_NOT_EXECUTABLE");
  });

  it("keeps arguments and output that are not UTF-8, and variables as they are given", async () => {
    const odd = await pyro(
      ["run", "debian:12", "--env", "A=x=y", "--", "sh", "-c", "printf '\\377\\376\\0%s' \"$A\""],
      {
        stateDir: state.path,
      },
    );
    expect([...odd.stdout]).toEqual([0xff, 0xfe, 0, ...Buffer.from("x=y")]);
  });

  it("gives nothing of the host's environment to the guest", async () => {
    const { stdout } = await pyro(["run", "debian:12", "--", "env"], {
      stateDir: state.path,
      env: { CANARY_VARIABLE: "seen" },
    });
    expect(stdout.toString()).not.toContain("CANARY");
  });

  it("has no network device but lo", async () => {
    const { stdout } = await run("--", "sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/flags");
    expect(stdout.toString()).toBe("lo\n0x9\n");
  });

  it("lets ten runs at once all succeed", async () => {
    const all = await Promise.all(Array.from({ length: 10 }, (_, i) => run("--", "echo", String(i))));
    expect(all.map(({ code, stdout }) => [code, stdout.toString()])).toEqual(
      Array.from({ length: 10 }, (_, i) => [0, `${i}\n`]),
    );
  });

  it("lets 1 GB of output through while client and daemon stay small", { timeout: 400_000 }, async () => {
    const child = start(
      ["run", "debian:12", "--timeout-seconds", "600", "--", "head", "-c", "1000000000", "/dev/zero"],
      {
        stateDir: state.path,
      },
    );
    let bytes = 0;
    child.stdout?.removeAllListeners("data");
    child.stdout?.on("data", (chunk: Buffer) => (bytes += chunk.length));
    const status = json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }));
    const daemonPid = Number(status["pid"]);
    const peaks = { client: 0, daemon: 0 };
    const timer = setInterval(() => {
      void residentMib(child.pid).then((mib) => (peaks.client = Math.max(peaks.client, mib)));
      void residentMib(daemonPid).then((mib) => (peaks.daemon = Math.max(peaks.daemon, mib)));
    }, 100);
    const { code } = await child.done;
    clearInterval(timer);
    expect(code).toBe(0);
    expect(bytes).toBe(1_000_000_000);
    console.log(
      `peak resident memory while 1 GB flowed: client ${peaks.client} MiB, daemon ${peaks.daemon} MiB`,
    );
    expect(peaks.client).toBeLessThan(300);
    expect(peaks.daemon).toBeLessThan(400);
  });

  it("leaves no machine directory behind after all of this", async () => {
    await eventually("no machine directory", async () =>
      (await leftovers(state.path)).every((line) => !line.startsWith("machine")),
    );
  });
});

async function residentMib(pid: number | undefined): Promise<number> {
  const text = await readFile(`/proc/${String(pid)}/status`, "utf8").catch(() => "");
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) / 1024);
}
