/** Workspaces in real machines, from the command line: the core loop, a daemon's death, the sealed baseline. */
import { chmod, mkdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  eventually,
  json,
  machinesOf,
  pyro,
  start,
  testState,
  type Result,
  type TestState,
} from "./support.js";

let state: TestState;
let project: string;
beforeAll(async () => {
  state = await testState();
  project = join(state.path, "project");
  await mkdir(join(project, "src"), { recursive: true });
  await mkdir(join(project, "empty"));
  await writeFile(join(project, "src/calc.py"), "def add(a, b):\n    return a - b\n");
  await writeFile(join(project, "test.py"), "from src.calc import add\nassert add(1, 2) == 3\nprint('ok')\n");
  await chmod(join(project, "test.py"), 0o755);
  await symlink("src/calc.py", join(project, "link"));
});
afterEach(async () => {
  const { workspaces } = json(await call("list", "--json")) as { workspaces: { workspace_id: string }[] };
  for (const { workspace_id: id } of workspaces) await call("delete", id);
  expect(await machinesOf(state.path)).toEqual([]);
});
afterAll(() => state[Symbol.asyncDispose]());

const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
const text = ({ stdout }: Result): string => stdout.toString();
const create = async (name: string, ...args: string[]): Promise<void> => {
  const { code, stderr } = await call("create", "debian:12", "--name", name, ...args);
  expect([code, code === 0 ? "" : stderr]).toEqual([0, ""]);
};
async function daemonPid(): Promise<number> {
  return Number(json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }))["pid"]);
}

describe("A workspace", () => {
  it("is seeded, tested, edited, patched, compared, exported, reset and deleted", async () => {
    await create("loop", "--seed-path", project, "--label", "kind=test");
    const failing = await call("exec", "loop", "--", "python3", "test.py");
    expect([failing.code, failing.stderr]).toEqual([1, expect.stringContaining("AssertionError")]);
    expect(text(await call("diff", "loop", "--stat"))).toContain("__pycache__");
    await call("exec", "loop", "--", "rm", "-r", "src/__pycache__");
    expect(text(await call("diff", "loop"))).toBe("nothing changed\n");

    expect(text(await call("file", "read", "loop", "src/calc.py", "--content-only"))).toContain("a - b");
    const edited = await call(
      "file",
      "edit",
      "loop",
      "src/calc.py",
      "--old-text",
      "a - b",
      "--new-text",
      "a + b",
    );
    expect(edited.code).toBe(0);
    const patch =
      "--- a/src/calc.py\n+++ b/src/calc.py\n@@ -1,2 +1,3 @@\n-def add(a, b):\n+# sums\n+def add(a, b, *_):\n     return a + b\n";
    expect((await call("patch", "apply", "loop", "--patch", patch)).code).toBe(0);
    const again = await call("patch", "apply", "loop", "--patch", patch);
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("PATCH_DOES_NOT_APPLY")]);
    expect(
      (await call("exec", "loop", "--env", "PYTHONDONTWRITEBYTECODE=1", "--", "python3", "test.py")).code,
    ).toBe(0);

    const diff = text(await call("diff", "loop"));
    expect(diff).toContain("-    return a - b\n");
    const output = join(state.path, "out");
    await rm(output, { recursive: true, force: true });
    expect((await call("export", "loop", ".", "--output", output)).code).toBe(0);
    expect(await readFile(join(output, "src/calc.py"), "utf8")).toBe(
      "# sums\ndef add(a, b, *_):\n    return a + b\n",
    );
    expect((await stat(join(output, "test.py"))).mode & 0o777).toBe(0o755);
    expect((await call("export", "loop", ".", "--output", output)).stderr).toContain("EXPORT_EXISTS");
    await rm(output, { recursive: true, force: true });

    const summary = json(await call("summary", "loop", "--json"));
    expect(summary).toMatchObject({
      labels: { kind: "test" },
      outcome: { failed_commands: 1, total_commands: 3, changed_files: 1 },
    });
    expect((await call("reset", "loop")).code).toBe(0);
    expect(text(await call("diff", "loop"))).toBe("nothing changed\n");
    expect(text(await call("logs", "loop"))).toContain("no command has run");
    expect((await call("exec", "loop", "--", "python3", "test.py")).code).toBe(1);
    expect(await readFile(join(project, "src/calc.py"), "utf8")).toContain("a - b");
  });

  it("keeps its baseline from root in the guest", async () => {
    await create("root", "--seed-path", project);
    const attack =
      "blockdev --setrw /dev/vdb; dd if=/dev/zero of=/dev/vdb bs=1M count=4 conv=fsync; " +
      "mkdir /m && mount -o rw /dev/vdb /m; rm -rf /m/workspace; echo bad > src/calc.py; sync";
    await call("exec", "root", "--", "sh", "-c", attack);
    expect(text(await call("diff", "root", "--stat"))).toContain("modified");
    expect((await call("reset", "root")).code).toBe(0);
    expect(text(await call("file", "read", "root", "src/calc.py", "--content-only"))).toContain("a - b");
    expect(text(await call("diff", "root"))).toBe("nothing changed\n");
  });

  it("lives on when the daemon is killed: its command, its output, its machine", async () => {
    await create("survivor");
    const script = "for i in $(seq 1 60); do echo line $i; sleep 0.1; done; exit 5";
    const client = start(["workspace", "exec", "survivor", "--", "sh", "-c", script], {
      stateDir: state.path,
    });
    await eventually("output", async () =>
      text(await call("logs", "survivor", "--sequence", "1")).includes("line 5"),
    );
    const [machine] = await machinesOf(state.path);
    process.kill(await daemonPid(), "SIGKILL");
    const lines = Array.from({ length: 60 }, (_, index) => `line ${index + 1}\n`).join("");
    const ended = await client.done;
    expect([ended.code, text(ended)]).toEqual([5, lines]);
    expect(ended.stderr).toMatch(
      /^pyro: the connection to the pyro daemon was lost: .*; the command goes on/,
    );
    const done = json(await call("logs", "survivor", "--sequence", "1", "--wait-seconds", "30", "--json"));
    const [entry] = done["entries"] as { exit_code: number; stdout: string }[];
    expect(entry?.exit_code).toBe(5);
    expect(entry?.stdout).toBe(lines);
    expect(text(await call("exec", "survivor", "--", "echo", "alive"))).toBe("alive\n");
    expect(await machinesOf(state.path)).toEqual([machine]);
  });

  it("streams each byte of a command once, and its end, through the deaths of two daemons", async () => {
    await create("stream");
    const script = "for i in $(seq 1 80); do seq 1 9999; echo round $i >&2; sleep 0.05; done; exit 9";
    const client = start(["workspace", "exec", "stream", "--", "sh", "-c", script], { stateDir: state.path });
    let seen = 0;
    client.stdout?.on("data", (chunk: Buffer) => (seen += chunk.length));
    for (const least of [300_000, 1_500_000]) {
      await eventually("output", () => Promise.resolve(seen > least));
      process.kill(await daemonPid(), "SIGKILL");
    }
    const ended = await client.done;
    const round = Array.from({ length: 9999 }, (_, index) => `${index + 1}\n`).join("");
    expect(text(ended) === round.repeat(80)).toBe(true);
    const ours = ended.stderr.split("\n").filter((line) => line.startsWith("pyro: "));
    const theirs = ended.stderr.split("\n").filter((line) => !line.startsWith("pyro: "));
    expect([ended.code, ours.length]).toEqual([9, 2]);
    expect(theirs).toEqual([...Array.from({ length: 80 }, (_, index) => `round ${index + 1}`), ""]);
  });

  it("edits a file of CRLFs by texts without CRs, and keeps its line ends", async () => {
    await create("crlf");
    await call("file", "write", "crlf", "a.txt", "--text", "one\r\ntwo\r\nthree\r\n");
    const texts = ["--old-text", "one\ntwo\n", "--new-text", "1\n2\n2b\n"];
    expect(text(await call("file", "edit", "crlf", "a.txt", ...texts))).toContain("CRLF");
    const output = join(state.path, "a.txt");
    expect((await call("export", "crlf", "a.txt", "--output", output)).code).toBe(0);
    expect(await readFile(output, "utf8")).toBe("1\r\n2\r\n2b\r\nthree\r\n");
    await rm(output);
  });

  it("stops, keeps its disk, and starts again; one that is lost starts when it is used", async () => {
    await create("rest");
    await call("exec", "rest", "--", "sh", "-c", "echo kept > kept; sync");
    expect((await call("stop", "rest")).code).toBe(0);
    expect(await machinesOf(state.path)).toEqual([]);
    const refused = await call("exec", "rest", "--", "true");
    expect([refused.code, refused.stderr]).toEqual([125, expect.stringContaining("WORKSPACE_STOPPED")]);
    expect((await call("start", "rest")).code).toBe(0);
    expect(text(await call("exec", "rest", "--", "cat", "kept"))).toBe("kept\n");
    const [machine = 0] = await machinesOf(state.path);
    process.kill(machine, "SIGKILL");
    await eventually("its loss is known", async () => {
      const status = json(await call("status", "rest", "--json"));
      return status["state"] === "stopped" && status["stopped_by"] === "crash";
    });
    expect(text(await call("exec", "rest", "--", "cat", "kept"))).toBe("kept\n");
  });

  it("is stopped after its TTL, and not while a command runs", async () => {
    await create("brief", "--ttl-seconds", "3");
    expect((await call("exec", "brief", "--", "sleep", "5")).code).toBe(0);
    await eventually(
      "it is stopped",
      async () => json(await call("status", "brief", "--json"))["stopped_by"] === "ttl",
    );
    expect(text(await call("exec", "brief", "--", "echo", "again"))).toBe("again\n");
  });

  it("does not see another one of the same project, and is deleted while a command runs", async () => {
    await Promise.all([create("left", "--seed-path", project), create("right", "--seed-path", project)]);
    await call("file", "write", "left", "only-left", "--text", "x");
    expect(text(await call("file", "list", "right"))).not.toContain("only-left");
    const running = start(["workspace", "exec", "left", "--", "sleep", "60"], { stateDir: state.path });
    await eventually("it runs", async () => text(await call("list")).includes("still running"));
    expect((await call("delete", "left")).code).toBe(0);
    expect((await running.done).code).toBe(125);
    expect(text(await call("exec", "right", "--", "echo", "well"))).toBe("well\n");
  });
});
