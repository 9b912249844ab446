/** Real chat hosts, driven by a model that plays a script: what goes wrong between them and the server. */
import { expect, it } from "vitest";
import { checkoutOf } from "../chat-hosts/checkout.js";
import { CHAT_HOSTS } from "../chat-hosts/hosts.js";
import { PYTHON_PROJECT } from "../chat-hosts/projects.js";
import { hostSuite } from "../chat-hosts/suite.js";
import { eventually, processes } from "./support.js";

const { claudeCode } = CHAT_HOSTS;
const { state, run, workspaces } = hostSuite();

it("Claude Code, whose server is killed in mid-exec, finds workspace, command and all output in its next run", async () => {
  await using checkout = await checkoutOf(PYTHON_PROJECT.files);
  let workspace_id = "";
  await run(claudeCode, checkout, [], async (reading) => {
    const created = await reading.call("workspace_create");
    workspace_id = String((JSON.parse(created.words) as Record<string, unknown>)["workspace_id"]);
    const command = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.5; done";
    const lost = reading.model.call("workspace_exec", { workspace_id, command });
    await eventually("the command runs", async () => {
      const [workspace] = await workspaces();
      return workspace?.["running_command_count"] === 1;
    });
    const isServer = (line: string): boolean => line.includes(state().path) && line.endsWith(" mcp serve");
    const servers = (await processes()).filter(({ line }) => isServer(line));
    expect(servers).toHaveLength(1);
    for (const { pid } of servers) process.kill(pid, "SIGKILL");
    expect(await lost).toMatchObject({ isError: true });
    return "The server is gone.";
  });
  await run(claudeCode, checkout, [], async ({ call, load }) => {
    await load("workspace_list", "workspace_delete");
    expect(JSON.parse((await call("workspace_list")).words)).toMatchObject({
      count: 1,
      workspaces: [{ workspace_id, command_count: 1 }],
    });
    const logs = await call("workspace_logs", { workspace_id, sequence: 1, wait_seconds: 40 });
    expect(logs.words).toMatch(/^exit 0\n/);
    expect(logs.guest).toBe([1, 2, 3, 4, 5, 6].map((i) => `line ${i}\n`).join(""));
    await call("workspace_delete", { workspace_id });
    return "It went on without me.";
  });
  expect(await workspaces()).toEqual([]);
});
