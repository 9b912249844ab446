/** `pyro mcp serve` that is killed while a tool's call goes on: what the next server finds. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { sha256File } from "../../src/kit/index.js";
import { violations } from "./invariants.js";
import { mcpSession, type Session } from "./mcp-session.js";
import { aRunHasWritten, unfinishedRuns } from "./started-runs.js";
import { eventually, machinesOf, pyro, testState, type TestState } from "./support.js";

let state: TestState;
let project: string;
beforeAll(async () => {
  state = await testState();
  project = await mkdtemp(join(tmpdir(), "pyro-project-"));
});
// Whatever it was, nothing of it stays.
afterEach(async () => {
  await eventually("no machine", async () => (await machinesOf(state.path)).length === 0);
  const stopped = await pyro(["daemon", "stop"], { stateDir: state.path });
  expect(stopped, stopped.stderr).toMatchObject({ code: 0 });
  expect(await unfinishedRuns(state.path)).toEqual([]);
  expect(await violations(state.path)).toEqual([]);
});
afterAll(async () => {
  await rm(project, { recursive: true });
  await state[Symbol.asyncDispose]();
});

const session = (): Promise<Session> =>
  mcpSession({ stateDir: state.path, cwd: project, flags: ["--profile", "workspace-full"] });

/** Calls a tool, and kills the server once this is so. */
async function killDuring(
  server: Session,
  [tool, args]: readonly [string, Record<string, unknown>],
  isInTheMiddle: () => Promise<boolean>,
): Promise<void> {
  const lost = server.call(tool, args).then(
    () => "answered",
    () => "lost",
  );
  await eventually("the call is in the middle", isInTheMiddle);
  process.kill(server.pid, "SIGKILL");
  expect(await lost).toBe("lost");
  await server[Symbol.asyncDispose]();
}

const hasMachine = async (): Promise<boolean> => (await machinesOf(state.path)).length > 0;

it("a run in a fresh VM ends by its own time", async () => {
  const run = { environment: "debian:12", command: "echo begun; sleep 100", timeout_seconds: 6 };
  await killDuring(await session(), ["vm_run", run], () => aRunHasWritten(state.path));
  expect(await machinesOf(state.path)).toHaveLength(1);
});

it("a workspace that was being made is made, and found by the next server", async () => {
  const wanted = { environment: "debian:12", empty: true, name: "wanted" };
  await killDuring(await session(), ["workspace_create", wanted], hasMachine);
  await using next = await session();
  const { workspaces } = (await next.call("workspace_list")).record as {
    workspaces: { workspace_id: string; name: string }[];
  };
  expect(workspaces).toMatchObject([{ name: "wanted" }]);
  const workspace_id = workspaces[0]?.workspace_id;
  const { record } = await next.call("workspace_status", { workspace_id, wait_seconds: 20 });
  expect(record).toMatchObject({ state: "started" });
  const ran = await next.call("workspace_exec", { workspace_id, command: "echo works" });
  expect([ran.words.split("\n")[0], ran.guest]).toEqual(["exit 0", "works\n"]);
  await next.call("workspace_delete", { workspace_id });
});

it("an export is whole or not there", async () => {
  const server = await session();
  const { record } = await server.call("workspace_create", { environment: "debian:12", empty: true });
  const { workspace_id } = record;
  const command = "head -c 200000000 /dev/urandom > big; sha256sum big";
  const made = await server.call("workspace_exec", { workspace_id, command });
  const output_path = join(project, "out");
  const begun = async (): Promise<boolean> => (await readdir(project)).length > 0;
  await killDuring(server, ["workspace_export", { workspace_id, path: "big", output_path }], begun);
  await using next = await session();
  // The daemon goes on with it, whoever waits.
  await eventually("nothing is half done", async () =>
    (await readdir(project)).every((name) => name === "out"),
  );
  const again = await next.call("workspace_export", {
    workspace_id,
    path: "big",
    output_path: `${output_path}2`,
  });
  expect(again.isError).toBe(false);
  for (const name of await readdir(project))
    expect([name, await sha256File(join(project, name))]).toEqual([name, made.guest.split(" ")[0]]);
  await next.call("workspace_delete", { workspace_id });
});
