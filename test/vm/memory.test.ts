import { readdirSync, writeFileSync } from "node:fs";
import { chmod, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
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
let id: string;
beforeAll(async () => {
  state = await testState();
  id = String(json(await call("create", "debian:12", "--json"))["workspace_id"]);
});
afterAll(async () => {
  const { workspaces } = json(await call("list", "--json")) as { workspaces: { workspace_id: string }[] };
  for (const { workspace_id: each } of workspaces) await call("delete", each);
  await state[Symbol.asyncDispose]();
});

const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
const text = async (...args: string[]): Promise<string> => (await call(...args)).stdout.toString();
const shell = (workspace: string, line: string): Promise<string> =>
  text("exec", workspace, "--", "/bin/bash", "-c", line);

/** What no two machines may have in common, and the time. */
const IDENTITY =
  "hostname; cat /etc/machine-id /proc/sys/kernel/random/boot_id; od -An -tx1 -N16 /dev/urandom; date +%s";

async function identityOf(workspace: string): Promise<{ facts: string[]; clockErrorS: number }> {
  const lines = (await shell(workspace, IDENTITY)).trim().split("\n");
  return { facts: lines.slice(0, 4), clockErrorS: Math.abs(Number(lines[4]) - Date.now() / 1000) };
}

/** A command that numbers its lines, and waits for a file to end. */
const COUNT = "i=0; while [ ! -e /tmp/enough ]; do i=$((i+1)); echo $i; sleep 0.02; done; echo end $i";

describe("a workspace that is suspended", () => {
  it("goes on where it was: its command loses no byte for who follows it, and it is another machine to those that ask", async () => {
    const following = start(["workspace", "exec", id, "--", "/bin/bash", "-c", COUNT], {
      stateDir: state.path,
    });
    await shell(id, "sleep 0.3");
    const before = await identityOf(id);
    const suspended = json(await call("stop", id, "--suspend", "--json"));
    expect(suspended).toMatchObject({ state: "suspended", stopped_by: "user" });
    expect(await machinesOf(state.path)).toEqual([]);
    expect(await readdir(join(state.path, "vms"))).toEqual([]);
    const refused = await call("exec", id, "--", "true");
    expect(refused.stderr).toContain("WORKSPACE_STOPPED");
    expect(json(await call("start", id, "--json"))).toMatchObject({ state: "started" });
    const after = await identityOf(id);
    expect(after.facts.filter((fact) => before.facts.includes(fact))).toEqual([]);
    expect(after.clockErrorS).toBeLessThan(3);
    // Once more, and the daemon changes in between.
    expect((await call("stop", id, "--suspend")).code).toBe(0);
    await pyro(["daemon", "stop"], { stateDir: state.path });
    expect((await call("start", id)).code).toBe(0);
    await shell(id, "touch /tmp/enough");
    const { code, stdout } = await following.done;
    const lines = stdout.toString().trim().split("\n");
    const last = lines.length - 1;
    expect([code, lines.at(-1)]).toEqual([0, `end ${last}`]);
    expect(lines.slice(0, -1)).toEqual(Array.from({ length: last }, (_, index) => String(index + 1)));
    expect(
      readdirSync(join(state.path, "workspaces", id)).filter((name) => name.startsWith("memory")),
    ).toEqual([]);
  });

  it("keeps what is used of its memory in files that only we read; one that was changed is refused, and given up by a stop", async () => {
    await shell(id, "echo kept >/workspace/kept");
    expect((await call("stop", id, "--suspend")).code).toBe(0);
    const directory = join(state.path, "workspaces", id, "memory");
    const memory = join(directory, "memory");
    const { size, blocks, mode } = await stat(memory);
    expect([(await stat(directory)).mode & 0o777, mode & 0o777]).toEqual([0o700, 0o400]);
    expect([size, blocks * 512 < size / 2]).toEqual([1024 ** 3, true]);
    await chmod(join(directory, "state"), 0o600);
    await using file = await open(join(directory, "state"), "r+");
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, 20_000);
    await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 20_000);
    const damaged = await call("start", id);
    expect([damaged.code, damaged.stderr]).toEqual([1, expect.stringContaining("SAVED_MEMORY_DAMAGED")]);
    expect(json(await call("status", id, "--json"))).toMatchObject({ state: "suspended" });
    writeFileSync(join(directory, "manifest.json.other"), "");
    expect(json(await call("stop", id, "--json"))).toMatchObject({ state: "stopped" });
    expect((await call("start", id)).code).toBe(0);
    expect(await shell(id, "cat kept")).toBe("kept\n");
  });

  it("whose machine is killed while it is saved is stopped, and starts from its disk", async () => {
    const stopping = call("stop", id, "--suspend");
    await eventually("its memory is being saved", () =>
      readdir(join(state.path, "workspaces", id)).then((names) =>
        names.some((name) => name.startsWith("memory")),
      ),
    );
    for (const pid of await machinesOf(state.path)) process.kill(pid, "SIGKILL");
    await stopping;
    const { state: now } = json(await call("status", id, "--wait-seconds", "10", "--json"));
    expect(["stopped", "suspended"]).toContain(now);
    await call("start", id);
    expect(await shell(id, "cat kept")).toBe("kept\n");
  });
});
