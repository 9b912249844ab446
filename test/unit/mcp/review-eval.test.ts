/** Mode review-eval as a model sees it: the real domain over a fake machine. */
import { expect, it } from "vitest";
import { mcpSession } from "../../fakes/mcp-client.js";
import { serveWorkspaces, WorkspaceHost } from "../../fakes/workspace-host.js";

it("costs a conversation little, and its instructions name the order of a review", async () => {
  await using session = await mcpSession({ mode: "review-eval", noProjectSource: true });
  const instructions = session.client.getInstructions() ?? "";
  expect(Buffer.byteLength(instructions)).toBeLessThan(2_048);
  const order = ["shell_open", "shell_read", "snapshot_create", "workspace_reset", "workspace_export"];
  const loop = instructions.slice(instructions.indexOf("Review by a checklist"));
  expect(order.toSorted((a, b) => loop.indexOf(a) - loop.indexOf(b))).toEqual(order);
  const { tools } = await session.client.listTools();
  const words = tools.map(({ name, description, inputSchema }) => [name, description, inputSchema]);
  expect(JSON.stringify(words).length / 4).toBeLessThan(3_000);
});

it("is told which snapshot a workspace is reset to, and how a name becomes free, by calls of tools", async () => {
  await using host = await WorkspaceHost.start();
  await using served = await serveWorkspaces(host);
  const { id } = await host.create({ name: "fix-1" });
  await using session = await mcpSession({
    ...{ mode: "review-eval", noProjectSource: true, stateDir: served.stateDir },
  });
  const at = { workspace_id: "fix-1" };
  const taken = await session.tool("snapshot_create", { ...at, snapshot_name: "installed" });
  expect(taken.record).toMatchObject({ snapshot_name: "installed" });
  const twice = await session.tool("snapshot_create", { ...at, snapshot_name: "installed" });
  expect(twice.texts[0]).toContain(`snapshot_delete(workspace_id="${id}", snapshot_name="installed")`);
  for (const [args, said] of [
    [{ snapshot: "installed" }, "is as at snapshot installed"],
    [{}, "is as it was created"],
  ] as const) {
    const { texts } = await session.tool("workspace_reset", { ...at, ...args });
    expect(texts[0]?.split("\n")[0]).toBe(`workspace ${id} ${said}`);
  }
});
