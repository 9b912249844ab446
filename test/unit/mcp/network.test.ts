import { describe, expect, test } from "vitest";
import { mcpSession } from "../../fakes/mcp-client.js";

/** What a server says of itself and of its tools. */
async function listed(options: Parameters<typeof mcpSession>[0]) {
  await using session = await mcpSession({ noProjectSource: true, ...options });
  const { tools } = await session.client.listTools();
  const openWorld = tools
    .filter(({ annotations }) => annotations?.openWorldHint === true)
    .map(({ name }) => name);
  const fields = (name: string): string[] =>
    Object.keys(tools.find((tool) => tool.name === name)?.inputSchema.properties ?? {});
  return { openWorld, fields, instructions: session.client.getInstructions() ?? "" };
}

describe("a server whose user let its machines out", () => {
  const network = { allow: ["example.org:443"] };

  test("says so, names the tools that reach out, and lets vm_run ask for it", async () => {
    const core = await listed({ profile: "workspace-core", network });
    expect(core.openWorld).toEqual(["workspace_exec"]);
    expect(core.instructions).toContain("the network reaches only what the user allowed");
    const full = await listed({ profile: "workspace-full", network });
    expect(full.openWorld.sort()).toEqual(
      ["service_start", "shell_open", "shell_write", "vm_exec", "vm_run", "workspace_exec"].sort(),
    );
    expect(full.fields("vm_run")).toContain("network");
    expect(full.fields("vm_create")).toContain("network");
    // What its machines may reach is the user's word alone.
    expect(full.fields("workspace_create").filter((name) => /network|cidr|host_port/.test(name))).toEqual([]);
  });
});

describe.each([
  ["without a word of its user", {}],
  ["whose user said off", { network: { policy: "off" } }],
] as const)("a server %s", (_, options) => {
  test("has no tool that reaches out, and none that could ask", async () => {
    const full = await listed({ profile: "workspace-full", ...options });
    expect(full.openWorld).toEqual([]);
    expect(full.instructions).toContain("there is no network");
    expect([...full.fields("vm_run"), ...full.fields("vm_create")]).not.toContain("network");
  });
});
