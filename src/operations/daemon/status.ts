import * as z from "zod";
import { isolation, snakeKeys } from "../fields.js";
import { defineOperation } from "../operation.js";
import { formatBytes, formatTable } from "../text.js";

const output = z.object({
  running: z.boolean(),
  state_dir: z.string(),
  log_path: z.string(),
  cache_dir: z.string().nullable(),
  version: z.string().nullable(),
  pid: z.number().nullable(),
  started_at: z.string().nullable(),
  isolation: isolation.nullable(),
  running_vms: z.number().nullable(),
  pooled_vms: z.number().nullable(),
  queued_boots: z.number().nullable(),
  active_calls: z.number().nullable(),
  resident_bytes: z.number().nullable(),
});

/** `pyro daemon status`. */
export const daemonStatus = defineOperation({
  name: "daemon_status",
  command: ["daemon", "status"],
  summary: "Show the process behind it all; starts none",
  description: "",
  profiles: [],
  kind: "read",
  input: z.strictObject({}),
  output,
  positionals: [],
  examples: [{ command: "pyro daemon status", says: "what runs, where its state and log are" }],
  run: async (_, { pyro, signal }) => output.parse(snakeKeys(await pyro.daemonStatus({ signal }))),
  render: (status) => {
    if (!status.running) return `no daemon runs; the next command starts one\nstate  ${status.state_dir}`;
    return formatTable([
      [
        "daemon",
        `process ${status.pid ?? "?"}, version ${status.version ?? "?"}, since ${status.started_at ?? "?"}`,
      ],
      ["isolation", status.isolation ?? "not probed yet"],
      [
        "machines",
        `${status.running_vms ?? 0} running, ${status.queued_boots ?? 0} queued, ${status.pooled_vms ?? 0} wait ready`,
      ],
      ["calls", String(status.active_calls ?? 0)],
      ["memory", formatBytes(status.resident_bytes ?? 0)],
      ["state", status.state_dir],
      ["cache", status.cache_dir ?? ""],
      ["log", status.log_path],
    ]);
  },
});
