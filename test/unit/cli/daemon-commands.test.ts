import { appendFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { cli } from "../../fakes/cli-host.js";
import { buildFakeDaemonProgram } from "../../fakes/fake-daemon-program.js";
import { temporaryState } from "../../fakes/state-directory.js";
import { pyro } from "../../fakes/cli-with-daemon.js";

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
