import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, json, pyro, start, testState, type Result, type TestState } from "./support.js";

let state: TestState;
let id: string;
beforeAll(async () => {
  state = await testState();
  id = String(json(await call("create", "debian:12", "--json"))["workspace_id"]);
});
afterAll(async () => {
  await call("delete", id);
  await state[Symbol.asyncDispose]();
});

const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
const shell = async (line: string): Promise<string> =>
  (await call("exec", id, "--", "/bin/bash", "-c", line)).stdout.toString();
/** What a server in the machine says, by whoever asks from inside. */
const ask = (): Promise<string> =>
  shell(
    "python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').read().decode())\"",
  );
const screen = async (shellId: string): Promise<string> =>
  String(
    json(await call("shell", "read", id, shellId, "--plain", "--wait-for-idle-ms", "300", "--json"))[
      "output"
    ],
  );

/** Counts its answers, in its memory only. */
const SERVER = `
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    count = 0
    def do_GET(self):
        Handler.count += 1
        self.send_response(200); self.end_headers()
        self.wfile.write(str(Handler.count).encode())
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
`;
/** Numbers its lines until a file appears; no number may be missing or come twice. */
const COUNT = "i=0; while [ ! -e /tmp/enough ]; do i=$((i+1)); echo $i; sleep 0.05; done; echo end $i";

describe("a snapshot with memory", () => {
  it("brings back the server, the shell and the command that ran, each time, also under another daemon", async () => {
    await call("file", "write", id, "server.py", "--text", SERVER);
    const ready = ["--ready-http", "http://127.0.0.1:8000/", "--ready-timeout-seconds", "30"];
    const served = await call("service", "start", id, "web", ...ready, "--", "python3", "server.py");
    expect(served.code).toBe(0);
    const shellId = String(json(await call("shell", "open", id, "--json"))["shell_id"]);
    await call("shell", "write", id, shellId, "--input", "cd /tmp; kept=yes\n");
    const counting = start(["workspace", "exec", id, "--", "/bin/bash", "-c", COUNT], {
      stateDir: state.path,
    });
    let counted = "";
    counting.stdout?.on("data", (chunk: Buffer) => (counted += chunk.toString()));
    // The first command of all, then.
    await eventually("it counts", () => Promise.resolve(counted.includes("3\n")));
    await eventually("it answers", async () => Number(await ask()) >= 3);
    const before = Number(await ask());

    const taken = json(await call("snapshot", "create", id, "served", "--memory", "--json"));
    expect(taken).toMatchObject({ snapshot_name: "served", memory: true, secrets_in_memory: [] });
    expect(Number(taken["bytes"])).toBeGreaterThan(2 ** 20);
    // Nothing noticed it.
    expect(Number(await ask())).toBe(before + 1);

    for (const round of [1, 2]) {
      await call("service", "stop", id, "web");
      await shell("rm -rf /workspace/*; pkill python3");
      if (round === 2) await pyro(["daemon", "stop"], { stateDir: state.path });
      const reset = json(await call("reset", id, "--snapshot", "served", "--json"));
      expect(reset).toMatchObject({ state: "started", reset: { count: round, snapshot: "served" } });
      expect(Number(await ask())).toBe(before + 1);
      expect(json(await call("service", "status", id, "web", "--json"))).toMatchObject({ state: "running" });
      await call("shell", "write", id, shellId, "--input", 'echo "$PWD $kept"\n');
      await eventually("the shell is as it was", async () => (await screen(shellId)).includes("/tmp yes"));
      expect(await shell("test -e /workspace/server.py && echo there")).toBe("there\n");
    }
    // The client of the command was told that a reset ended it; the command itself goes on from the snapshot.
    expect((await counting.done).stderr).toContain("reset");
    await shell("touch /tmp/enough");
    await eventually("the command has ended", async () => {
      const logs = await call("logs", id, "--sequence", "1", "--json");
      return logs.stdout.toString().includes("end ");
    });
    const { stdout } = await call("logs", id, "--sequence", "1");
    const lines = stdout
      .toString()
      .split("\n")
      .filter((line) => /^\d+$/.test(line));
    expect(lines).toEqual(lines.map((_, index) => String(index + 1)));

    expect((await call("snapshot", "delete", id, "served")).code).toBe(0);
    expect(await readdir(join(state.path, "workspaces", id, "snapshots"))).toEqual([]);
    await call("stop", id);
    expect((await call("snapshot", "create", id, "late", "--memory")).stderr).toContain("WORKSPACE_STOPPED");
  });
});
