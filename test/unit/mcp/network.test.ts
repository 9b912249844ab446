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
  const start = tools.find(({ name }) => name === "service_start");
  return { openWorld, fields, start, instructions: session.client.getInstructions() ?? "" };
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

describe("service_start publishes ports", () => {
  test.each(["workspace-full", "cold-start"] as const)(
    "in %s where the user's policy does, and is open-world there",
    async (set) => {
      const tools = set === "cold-start" ? { mode: set } : { profile: set };
      const publishing = await listed({ ...tools, network: { policy: "egress+published-ports" } });
      expect(publishing.start?.inputSchema.properties?.["published_ports"]).toMatchObject({
        description: "Reached on the user's 127.0.0.1 once it is ready; without host_port the system chooses",
        items: { required: ["guest_port"], additionalProperties: false },
      });
      expect(publishing.fields("service_start")).not.toContain("publish");
      expect(publishing.openWorld).toContain("service_start");
      for (const network of [undefined, { policy: "off" }, { policy: "egress" }, { allow: ["*"] }] as const) {
        const other = await listed({ ...tools, network });
        expect(other.fields("service_start")).not.toContain("published_ports");
      }
    },
  );
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
