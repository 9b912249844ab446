import { createTools, type PyroTool, type ServerOptions } from "../../src/mcp/index.js";
import { MODES, PROFILES } from "../../src/operations/index.js";
import { fieldsOf } from "./fields.js";
import { code, GENERATED, plain, table } from "./markdown.js";

/** The reference of the MCP tools: which set has which, and what each one takes. */
export async function mcpPage(): Promise<string> {
  const sets = [...PROFILES, ...MODES];
  const toolsOfSets = await Promise.all(
    sets.map((set) =>
      toolNames(
        (PROFILES as readonly string[]).includes(set) ? { profile: set as never } : { mode: set as never },
      ),
    ),
  );
  const all = new Map<string, PyroTool>();
  for (const tools of [...toolsOfSets].reverse()) for (const tool of tools) all.set(tool.name, tool);
  // What the user's own word opens, shown as a server has it that was given all.
  const open = await toolNames({ profile: "workspace-full", network: { policy: "egress+published-ports" } });
  for (const tool of open) all.set(tool.name, tool);
  const order = [...new Set([...open, ...all.values()].map(({ name }) => name))];
  const matrix = order.map((name) => [
    `[${code(name)}](#${name.replaceAll("_", "-")})`,
    ...toolsOfSets.map((tools) => (tools.some((tool) => tool.name === name) ? "yes" : "")),
  ]);
  const sections = order.flatMap((name) => all.get(name) ?? []).map(toolSection);
  return [
    GENERATED,
    "# MCP tools\n",
    INTRODUCTION,
    table(["tool", ...sets.map(code)], matrix),
    ...sections,
  ].join("\n");
}

const INTRODUCTION = `\`pyro mcp serve\` lists the tools of one profile (\`--profile\`, by default \`workspace-core\`) or of one mode (\`--mode\`).
\`createTools\` of the [SDK](sdk.md) gives the same ones to programs. Unknown fields are refused; an error is an answer with \`isError\`, its first line \`CODE: message\`, then the hint;
[troubleshooting](../troubleshooting.md) has a page for each code. No call takes longer than 45 s: what does goes on, and the answer names the call that waits for it.

Below each tool stands as \`--profile workspace-full --network-policy egress+published-ports\` has it; other sets leave fields out that they do not allow.
`;

async function toolNames(options: ServerOptions): Promise<readonly PyroTool[]> {
  await using tools = await createTools({ ...options, noProjectSource: true });
  return tools.tools;
}

function toolSection({ name, title, description, inputSchema, annotations }: PyroTool): string {
  const hints = [
    annotations.readOnlyHint ? "only reads" : annotations.destructiveHint ? "may destroy" : "changes",
    annotations.idempotentHint ? "a second call changes nothing more" : "",
    annotations.openWorldHint ? "may reach the network" : "",
  ].filter((hint) => hint !== "");
  const rows = fieldsOf(inputSchema).map((field) => [
    `${code(field.name)}${field.required ? " (needed)" : ""}`,
    plain(field.type),
    plain([field.description, field.bounds].filter((part) => part !== "").join("; ")),
  ]);
  return [
    `## ${name}\n`,
    title === name ? "" : `*${plain(title)}* (${hints.join(", ")})\n`,
    `${plain(description)}\n`,
    table(["field", "type", "what it is"], rows),
  ]
    .filter((part) => part !== "")
    .join("\n");
}
