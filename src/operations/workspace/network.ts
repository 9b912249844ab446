import * as z from "zod";
import type { NetworkEntry, WorkspaceNetwork } from "../../sdk/index.js";
import { snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatTable } from "../text.js";
import { networkFields, networkOptions } from "./network-fields.js";
import { portTable, publishedPort } from "./publishing.js";
import { workspaceId } from "./record.js";

const entry = z.object({
  sequence: z.number(),
  at: z.string(),
  kind: z.enum(["connection", "name", "published"]),
  decision: z.enum(["open", "allowed", "refused", "failed"]),
  name: z.string().nullable(),
  address: z.string().nullable(),
  port: z.number().nullable(),
  bytes_up: z.number(),
  bytes_down: z.number(),
  reason: z.string().nullable(),
  hint: z.string().nullable(),
  opened_by: z.string().nullable(),
  duration_ms: z.number().nullable(),
  end: z.string().nullable(),
  times: z.number(),
});

/** A workspace's network: what it may reach, and what became of that. */
export const networkRecord = z.object({
  workspace_id: z.string(),
  policy: z.object({
    mode: z.enum(["off", "egress", "egress+published-ports"]),
    allow: z.array(z.string()),
    deny: z.array(z.string()),
    allow_cidrs: z.array(z.string()),
    allow_host_ports: z.array(z.number()),
  }),
  totals: z.object({
    connections: z.number(),
    published: z.number(),
    refused: z.number(),
    failed: z.number(),
    bytes_up: z.number(),
    bytes_down: z.number(),
  }),
  entries: z.array(entry),
});

export type NetworkView = z.output<typeof networkRecord>;

/** `pyro workspace network show`, `getWorkspaceNetwork`. */
export const workspaceNetwork = defineOperation({
  name: "workspace_network",
  command: ["workspace", "network", "show"],
  summary: "Show what a workspace may reach, what it reached, and what was refused",
  description:
    "`pyro workspace network ID` does the same. Each refusal says why, and how you could allow it.",
  profiles: [],
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    limit: z.int().min(1).max(1000).default(50).describe("At most so many entries, the newest"),
    follow: z
      .boolean()
      .default(false)
      .describe("Instead, what is connected and refused from now on, until Ctrl-C"),
  }),
  output: networkRecord,
  positionals: ["workspace_id"],
  examples: [
    { command: "pyro workspace network show fix-1", says: "the newest 50 connections" },
    {
      command: "pyro workspace network show fix-1 --follow --json",
      says: "an object per line, again when it ends",
    },
  ],
  run: async ({ workspace_id: id, limit }, { pyro, signal }) =>
    toNetworkView(await pyro.getWorkspaceNetwork({ workspaceId: id, limit }, { signal })),
  render: renderNetwork,
});

/** `pyro workspace network set`, `setWorkspaceNetwork`. */
export const workspaceNetworkSet = defineOperation({
  name: "workspace_network_set",
  command: ["workspace", "network", "set"],
  summary: "Set what a workspace may reach, also while it runs",
  description:
    "The whole policy is replaced; with --add, what is given comes on top of it. Connections that the new one refuses are reset at once.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    add: z.boolean().default(false).describe("On top of the policy that holds, instead of in its place"),
    ...networkFields,
  }),
  output: networkRecord,
  positionals: ["workspace_id"],
  examples: [
    {
      command: "pyro workspace network set fix-1 --network-allow example.org:443",
      says: "that registry, and nothing else",
    },
    {
      command: "pyro workspace network set fix-1 --add --network-allow example.net",
      says: "that one too, as a refusal's hint says",
    },
    { command: "pyro workspace network set fix-1 --network-policy off", says: "nothing from now on" },
  ],
  run: async ({ workspace_id: id, add, ...given }, context) => {
    const { pyro, signal } = context;
    const options = await networkOptions(given, context);
    return toNetworkView(await pyro.setWorkspaceNetwork({ workspaceId: id, add, ...options }, { signal }));
  },
  render: renderNetwork,
});

/** `pyro workspace port list`, `listPorts`. */
export const workspacePortList = defineOperation({
  name: "workspace_port_list",
  command: ["workspace", "port", "list"],
  summary: "List the ports that services of a workspace have on this host",
  description:
    "`workspace service start --publish` opens them, on 127.0.0.1 only. One that was taken while the workspace was suspended, " +
    "or no daemon ran, stays closed and says so.",
  profiles: [],
  kind: "read",
  input: z.strictObject({ workspace_id: workspaceId() }),
  output: z.object({
    workspace_id: z.string(),
    ports: z.array(publishedPort.extend({ service_name: z.string() })),
  }),
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace port list fix-1", says: "127.0.0.1:8080 → web:3000" }],
  run: async ({ workspace_id: id }, { pyro, signal }) =>
    snakeKeys(await pyro.listPorts(id, { signal })) as never,
  render: ({ ports }) =>
    ports.length === 0
      ? "no port is published; `pyro workspace service start ID NAME --publish PORT -- CMD` does"
      : portTable(ports),
});

export function toNetworkView(record: WorkspaceNetwork): NetworkView {
  return snakeKeys(record) as never;
}

export function toNetworkEntryView(record: NetworkEntry): z.output<typeof entry> {
  return snakeKeys(record) as never;
}

/** An entry in a line, for people. */
export function networkLine(record: z.output<typeof entry>): string {
  return rowOf(record)
    .filter((cell) => cell !== "")
    .join("  ");
}

/** Whether there is something to tell: a way out, or an attempt at one. */
export function hasNetwork({ policy, totals, entries }: NetworkView): boolean {
  return policy.mode !== "off" || totals.connections > 0 || entries.length > 0;
}

/** For people: the policy, the totals, the entries. */
export function renderNetwork({ policy, totals, entries }: NetworkView): string {
  const rules = [
    ...policy.allow.map((rule) => `  allow ${rule}`),
    ...policy.deny.map((rule) => `  deny ${rule}`),
    ...policy.allow_cidrs.map((rule) => `  allow-cidr ${rule}`),
    ...policy.allow_host_ports.map((port) => `  allow-host-port ${port}`),
  ];
  const { connections, published, refused, failed } = totals;
  const moved = `${formatBytes(totals.bytes_up)} up, ${formatBytes(totals.bytes_down)} down`;
  return [
    `network ${policy.mode}`,
    ...rules,
    `${connections} connections, ${refused} refused, ${failed} failed; ${moved}`,
    ...(published === 0 ? [] : [`${published} connections to published ports`]),
    ...(entries.length === 0 ? [] : [formatTable(entries.map(rowOf))]),
  ].join("\n");
}

function rowOf(entry: NetworkView["entries"][number]): string[] {
  const { kind, name, address, port, decision, times } = entry;
  const at = port === null ? "" : `:${port}`;
  const place =
    kind === "published" ? [`→ ${name ?? "?"}${at}`] : [name, address === null ? null : `${address}${at}`];
  const why = [entry.reason, entry.hint].filter((text) => text !== null).join("; ");
  const moved = `${formatBytes(entry.bytes_up)} up, ${formatBytes(entry.bytes_down)} down`;
  return [
    entry.at,
    decision + (times > 1 ? ` ${times} times` : ""),
    place.filter((text) => text !== null).join(" "),
    entry.opened_by ?? "",
    why === "" ? moved : why,
  ];
}
