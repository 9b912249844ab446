/** Services in a real machine: real servers, real deaths, one workspace for all of it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mcpSession, type Session } from "./mcp-session.js";
import { json, pyro, testState, type TestState } from "./support.js";

const WORKSPACE = { workspace_id: "svc" };

let state: TestState;
let host: Session;
let project: string;
beforeAll(async () => {
  state = await testState();
  project = await mkdtemp(join(tmpdir(), "pyro-project-"));
  const flags = ["--mode", "cold-start", "--no-project-source"];
  host = await mcpSession({ stateDir: state.path, cwd: project, flags });
  const created = await host.call("workspace_create", { name: "svc", empty: true, ttl_seconds: 600 });
  expect([created.isError, created.words]).toEqual([false, expect.stringContaining("is ready")]);
});
afterAll(async () => {
  await host[Symbol.asyncDispose]();
  await rm(project, { recursive: true, force: true });
  await state[Symbol.asyncDispose]();
});

const cli = (...args: string[]) => pyro(["workspace", ...args], { stateDir: state.path });

async function service(tool: string, name: string, more: Record<string, unknown> = {}) {
  return await host.call(`service_${tool}`, { ...WORKSPACE, service_name: name, ...more });
}

async function startService(name: string, command: string, more: Record<string, unknown> = {}) {
  const started = await service("start", name, { command, ...more });
  expect([started.isError, started.words]).toEqual([false, expect.any(String)]);
  return started.record;
}

async function exec(command: string): Promise<string> {
  const { isError, words, guest } = await host.call("workspace_exec", { ...WORKSPACE, command });
  expect([isError, words.split("\n")[0]]).toEqual([false, "exit 0"]);
  return guest;
}

describe("Services", () => {
  it("run a real web server, wait for its first answer, and keep what it wrote", async () => {
    const web = await startService("web", "python3 -m http.server 8000", {
      readiness: { type: "http", url: "http://localhost:8000/" },
      cwd: "/etc",
    });
    expect(web).toMatchObject({ service_name: "web", state: "running", cwd: "/etc", restarts: 0 });
    expect(web["pid"]).toBeGreaterThan(0);
    const get =
      "python3 -c \"import urllib.request as u; print(u.urlopen('http://localhost:8000/hostname').read())\"";
    expect(await exec(get)).toMatch(/^b'/);
    const { words, guest } = await service("logs", "web");
    expect(words).toMatch(/^service web is running\nstdout: nothing\nstderr: \d+ bytes, all below$/);
    expect(guest).toContain('"GET /hostname HTTP/1.1" 200');
  });

  it("are ready by a port, by a file and by a command", async () => {
    const server =
      "import socket,time; s=socket.socket(); time.sleep(.3); s.bind(('',7001)); s.listen(); time.sleep(600)";
    const rows = {
      tcp: [`exec python3 -c "${server}"`, { type: "tcp", address: ":7001" }],
      file: ["sleep 0.3; touch ready; exec sleep 600", { type: "file", path: "ready" }],
      command: [
        "sleep 0.3; echo up > health; exec sleep 600",
        { type: "command", command: "grep -q up health" },
      ],
    } as const;
    for (const [name, [command, readiness]] of Object.entries(rows)) {
      const record = await startService(name, command, { readiness, ready_interval_ms: 50 });
      expect(record).toMatchObject({ state: "running", readiness });
      expect(Date.parse(record["ready_at"] as string)).toBeGreaterThan(
        Date.parse(record["started_at"] as string),
      );
    }
  });

  it("say why they fail, with the end of what they wrote, and leave nothing alive", async () => {
    const taken = await service("start", "second", {
      command: "exec python3 -m http.server 8000",
      readiness: { type: "http", url: "http://localhost:8000/" },
    });
    expect(taken.isError).toBe(true);
    expect(taken.words).toMatch(
      /^SERVICE_FAILED: service second failed: it ended with exit code 1 before it was ready/,
    );
    expect(taken.words).toContain("Address already in use");
    expect(taken.words).toContain('service_logs(workspace_id="');
    const never = await service("start", "never", {
      command: "echo waiting; sleep 601 & exec sleep 602",
      readiness: { type: "tcp", address: "localhost:7002" },
      ready_timeout_seconds: 3,
    });
    expect(never.words).toMatch(/it was not ready within 3s: nothing listens on localhost:7002.*\nwaiting/s);
    const dying = await service("start", "dying", {
      command: "echo no configuration >&2; exit 78",
      readiness: { type: "file", path: "never" },
    });
    expect(dying.words).toMatch(/exit code 78 before it was ready.*\nno configuration/s);
    expect(await exec("pgrep -f 'sleep 60[12]' || echo none")).toBe("none\n");
    const again = await service("start", "web", { command: "true" });
    expect(again.words).toContain('SERVICE_EXISTS: a service with the name "web" is running');
    const unknown = await service("status", "nobody");
    expect(unknown.words).toMatch(/^SERVICE_NOT_FOUND.*\nhint: the services that there are: command, dying/);
    const missing = await service("start", "missing", { argv: ["no-such-program"] });
    expect(missing.words).toContain("COMMAND_NOT_FOUND");
    const { record } = await service("status", "dying");
    expect(record).toMatchObject({ state: "failed", exit_code: 78, stop_reason: "exited_before_ready" });
  });

  it("fork away, and end with all that they left", async () => {
    const record = await startService("daemon", "(setsid sleep 603 </dev/null &) ; exit 0");
    expect(record["state"]).toBe("running");
    await exec("until pgrep -f 'sleep 60[3]'; do sleep 0.1; done");
    const { record: after } = await service("status", "daemon");
    expect(after).toMatchObject({ state: "running", forked: true, pid: null });
    expect((await service("stop", "daemon")).record).toMatchObject({
      state: "stopped",
      stop_reason: "requested",
    });
    expect(await exec("pgrep -f 'sleep 60[3]' || echo none")).toBe("none\n");
  });

  it("live on when the daemon is killed, and are waited for by the next one", async () => {
    const before = (await service("status", "web")).record;
    await startService("late", "while :; do echo tick; sleep 0.1; done");
    process.kill(await daemonPid(), "SIGKILL");
    // The first call may still meet the old daemon's end.
    await service("status", "web");
    const after = (await service("status", "web")).record;
    expect(after).toMatchObject({ state: "running", pid: before["pid"], started_at: before["started_at"] });
    expect((await service("status", "late")).record).toMatchObject({ state: "running" });
    const read = async () => Number(/stdout: (\d+) bytes/.exec((await service("logs", "late")).words)?.[1]);
    const then = await read();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await read()).toBeGreaterThan(then);
    const { record } = await host.call("workspace_status", WORKSPACE);
    expect(record).toMatchObject({ running_service_count: 5 });
  });

  it("keep the newest of what a spammer writes, and count the rest exactly", async () => {
    await startService("spam", "seq 1 400000; echo end >&2; exec sleep 600", {
      readiness: { type: "command", command: "pgrep -f 'sleep 60[0]'" },
    });
    const read = async (...more: string[]) =>
      json(await cli("service", "logs", "svc", "spam", "--json", ...more)) as Record<string, string | number>;
    // All that seq wrote is there once what came after it is.
    let logs = await read("--all");
    while (logs["stderr"] !== "end\n") logs = await read("--all");
    const kept = String(logs["stdout"]);
    expect(logs["stdout_bytes"]).toBe(2_688_895);
    expect(Number(logs["stdout_dropped_bytes"]) + kept.length).toBe(2_688_895);
    expect(kept.length).toBeLessThanOrEqual(512 * 1024);
    expect(kept.endsWith("\n399999\n400000\n")).toBe(true);
    expect(await read("--tail-lines", "2")).toMatchObject({ stdout: "399999\n400000\n", truncated: true });
  });

  it("are many: twenty more run side by side", async () => {
    const names = Array.from({ length: 20 }, (_, index) => `many-${index}`);
    const argv = ["sleep", "604"];
    for (const { isError } of await Promise.all(names.map((name) => service("start", name, { argv }))))
      expect(isError).toBe(false);
    const { record } = await host.call("service_list", WORKSPACE);
    expect(record).toMatchObject({ running_count: 26 });
    const { services } = record["omitted"] as Record<string, number>;
    expect((record["services"] as unknown[]).length + (services ?? 0)).toBe(record["count"]);
    expect((await exec("pgrep -fc 'sleep 60[4]'")).trim()).toBe("20");
  });

  it("are started, waited for and shown from the command line", async () => {
    const started = await cli(
      ...["service", "start", "svc", "byhand", "--ready-command", "test -e byhand.up", "--json", "--"],
      ...["sh", "-c", "sleep 0.2; touch byhand.up; exec sleep 605"],
    );
    expect(json(started)).toMatchObject({ service_name: "byhand", state: "running", published_ports: [] });
    expect((await cli("service", "list", "svc")).stdout.toString()).toMatch(/^byhand +running +\d+ /m);
    const two = await cli(
      "service",
      "start",
      "svc",
      "x",
      "--ready-file",
      "a",
      "--ready-tcp",
      ":1",
      "--",
      "true",
    );
    expect([two.code, two.stderr]).toEqual([1, expect.stringContaining("2 kinds of readiness")]);
    expect(json(await cli("service", "stop", "svc", "byhand", "--json"))).toMatchObject({ state: "stopped" });
    expect((await cli("summary", "svc")).stdout.toString()).toMatch(/services:\n(.*\n)* {2}web {2}running/);
  });

  it("end with the workspace's stop, which they tell, and are forgotten with its reset", async () => {
    expect((await cli("stop", "svc")).code).toBe(0);
    const { record } = await service("status", "web");
    expect(record).toMatchObject({ state: "stopped", stop_reason: "workspace_stopped", pid: null });
    expect((await service("logs", "web")).words).toMatch(
      /^SERVICE_NOT_FOUND: the logs of service web went with the machine/,
    );
    expect((await host.call("workspace_reset", WORKSPACE)).isError).toBe(false);
    expect((await host.call("service_list", WORKSPACE)).record).toMatchObject({ count: 0, running_count: 0 });
    expect((await host.call("workspace_delete", WORKSPACE)).isError).toBe(false);
  });
});

async function daemonPid(): Promise<number> {
  return Number(json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }))["pid"]);
}
