import * as z from "zod";
import { sleep } from "../../kit/index.js";
import type { WorkspacesUsage, WorkspaceUsage } from "../../sdk/index.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatCount, formatTable, visibleName } from "../text.js";

/** Between the two looks of one that is printed once: the kernel counts in steps of 10 ms. */
const SPAN_MS = 500;
/** Shown of a name. */
const NAME_MAX = 20;

const usageRecord = z.object({
  workspace_id: z.string(),
  name: z.string().nullable(),
  environment: z.string(),
  state: z.string(),
  hindrance: z.string().nullable(),
  vcpu_count: z.number(),
  mem_mib: z.number(),
  pid: z.number().nullable(),
  cpu_percent: z.number().nullable(),
  cpu_ms: z.number(),
  memory_bytes: z.number(),
  disk_bytes: z.number(),
  running_command_count: z.number(),
  last_command: z.string().nullable(),
  last_activity_at: z.string(),
});

/** What all workspaces cost, as the command prints it. */
const topRecord = z.object({
  at: z.string(),
  cpu_count: z.number(),
  count: z.number(),
  workspaces: z.array(usageRecord),
});

export type TopView = z.output<typeof topRecord>;

/** What `before` and `now` together tell; without a look before, or after another daemon's, there are no rates. */
export function toTopView(before: WorkspacesUsage | undefined, now: WorkspacesUsage): TopView {
  const compares = before?.daemonId === now.daemonId && now.atUs > before.atUs ? before : undefined;
  return {
    at: new Date().toISOString(),
    cpu_count: now.cpuCount,
    count: now.workspaces.length,
    workspaces: now.workspaces.map((usage) => ({
      workspace_id: usage.workspaceId,
      name: usage.name,
      environment: usage.environment,
      state: usage.state,
      hindrance: usage.hindrance,
      vcpu_count: usage.vcpuCount,
      mem_mib: usage.memMib,
      pid: usage.pid,
      cpu_percent: percentOf(compares, now, usage),
      cpu_ms: Math.round(usage.cpuUs / 1000),
      memory_bytes: usage.memoryBytes,
      disk_bytes: usage.diskBytes,
      running_command_count: usage.runningCommandCount,
      last_command: usage.lastCommand,
      last_activity_at: usage.lastActivityAt,
    })),
  };
}

/** Of one processor: two busy ones are 200. Null where its machine does not run, or is another one than before. */
function percentOf(
  before: WorkspacesUsage | undefined,
  now: WorkspacesUsage,
  { workspaceId, pid, cpuUs }: WorkspaceUsage,
): number | null {
  const then = before?.workspaces.find((usage) => usage.workspaceId === workspaceId);
  if (before === undefined || then === undefined || pid === null || then.pid !== pid) return null;
  const percent = (100 * Math.max(0, cpuUs - then.cpuUs)) / (now.atUs - before.atUs);
  return Math.round(percent * 10) / 10;
}

/** `pyro workspace top`; on a terminal the command redraws it (src/cli/top.ts). */
export const workspaceTop = defineOperation({
  name: "workspace_top",
  command: ["workspace", "top"],
  summary: "Watch what each workspace costs: state, CPU, memory, disk, commands",
  description:
    "A live view, the last active first: q or Ctrl-C leaves it. Without a terminal, with --once and with --json it is " +
    "printed once. CPU is that of the whole machine's process, in percent of one processor; memory is its share of the " +
    "host's; disk is what its own layers take.",
  profiles: [],
  kind: "read",
  input: z.strictObject({
    once: z.boolean().default(false).describe("Print it once, also on a terminal"),
  }),
  output: topRecord,
  positionals: [],
  examples: [
    { command: "pyro workspace top", says: "which one is busy" },
    { command: "pyro workspace top --json", says: "the same figures for programs" },
  ],
  run: async (_, { pyro, signal }) => {
    const before = await pyro.topWorkspaces({ signal });
    if (before.workspaces.some(({ pid }) => pid !== null)) await sleep(SPAN_MS, signal);
    return toTopView(before, await pyro.topWorkspaces({ signal }));
  },
  render: (view) => [topSummary(view), ...topRows(view)].join("\n"),
});

/** The line above the table. */
export function topSummary({ workspaces, cpu_count: cpus }: TopView): string {
  const running = workspaces.filter(({ pid }) => pid !== null);
  const sum = (pick: (each: TopView["workspaces"][number]) => number): number =>
    running.reduce((total, each) => total + pick(each), 0);
  const cpu = `${Math.round(sum(({ cpu_percent: percent }) => percent ?? 0))} % of ${cpus * 100} %`;
  const memory = formatBytes(sum(({ memory_bytes: bytes }) => bytes));
  const count = formatCount(workspaces.length, "workspace", "workspaces");
  return `${count}, ${running.length} with a machine: CPU ${cpu}, memory ${memory}`;
}

/** Long names give way to the figures; the beginning of the id tells those of one name apart. */
function nameOf({ name, workspace_id: id }: TopView["workspaces"][number]): string {
  if (name === null) return id;
  return `${name.length > NAME_MAX ? `${name.slice(0, NAME_MAX - 1)}…` : name} (${id.slice(0, 7)})`;
}

/** A head and a line per workspace; the last column may be cut at will. */
export function topRows({ workspaces }: TopView): readonly string[] {
  if (workspaces.length === 0) return ["there are none; `pyro workspace create debian:12` makes one"];
  return formatTable([
    ["WORKSPACE", "STATE", "CPU %", "MEMORY", "DISK", "RUNS", "LAST COMMAND"],
    ...workspaces.map((usage) => [
      nameOf(usage),
      usage.hindrance ?? usage.state,
      usage.cpu_percent === null ? "-" : usage.cpu_percent.toFixed(1),
      usage.pid === null ? "-" : formatBytes(usage.memory_bytes),
      formatBytes(usage.disk_bytes),
      String(usage.running_command_count),
      usage.last_command === null ? "-" : visibleName(usage.last_command),
    ]),
  ]).split("\n");
}
