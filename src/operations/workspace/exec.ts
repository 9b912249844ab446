import * as z from "zod";
import { LIMITS } from "../../protocol/index.js";
import type { WorkspaceCommandRecord } from "../../sdk/index.js";
import { field, isolation } from "../fields.js";
import { declare, defineOperation } from "../operation.js";
import { outcomeText, toWorkspaceCommandView, workspaceCommandRecord, workspaceId } from "./record.js";
import { formatTable } from "../text.js";
import { secretEnvField } from "./secrets.js";
import { CORE_AND_INSPECT } from "./tool-sets.js";

/** A command's result, as section 6 of the contract names its fields. */
export const execRecord = workspaceCommandRecord.extend({
  environment: z.string().nullable(),
  execution_mode: z.literal("guest"),
  isolation: isolation.nullable(),
  stdout: z.string(),
  stderr: z.string(),
  stdout_truncated: z.boolean(),
  stderr_truncated: z.boolean(),
  stdout_bytes: z.number(),
  stderr_bytes: z.number(),
});

const sequence = (): z.ZodNumber =>
  z
    .int()
    .min(1)
    .max(2 ** 32 - 1);
const maxBytes = (): z.ZodNumber => z.int().min(1).max(65_536);

/** `pyro workspace exec`, `workspace_exec`, `execWorkspace`. */
export const workspaceExec = declare({
  name: "workspace_exec",
  command: ["workspace", "exec"],
  summary: "Run a command in a workspace",
  description:
    "The words after -- are a program and its arguments, run without a shell. Output is streamed and kept " +
    "(`pyro workspace logs`), standard input is passed through, Ctrl-C reaches the guest's process group. Exit status: the " +
    "command's own; 124 after a timeout; 125 when pyro itself failed; 126 and 127 when the command cannot be run.",
  profiles: CORE_AND_INSPECT,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    command: field.shellLine().describe("Shell line, run by /bin/sh -lc. Exactly one of command and argv"),
    argv: field.argv(),
    cwd: z
      .string()
      .max(4096)
      .optional()
      .describe("Working directory; relative paths lie under /workspace, the default"),
    env: z.record(z.string(), z.string()).default({}).describe("A variable of the command; repeatable"),
    timeout_seconds: z
      .int()
      .min(1)
      .max(LIMITS.longestSeconds)
      .default(600)
      .describe("The command and all it started are killed after this"),
    secret_env: secretEnvField,
  }),
  positionals: ["workspace_id", "argv"],
  notOnCommandLine: ["command"],
  fullOnly: ["secret_env"],
  examples: [
    { command: "pyro workspace exec fix-1 -- make test", says: "one command, streamed" },
    {
      command: "pyro workspace exec fix-1 --cwd src -- sh -c 'ls | wc -l'",
      says: "in a directory, by a shell",
    },
  ],
});

/** `pyro workspace cancel`, `workspace_cancel`, `cancelWorkspaceCommand`. */
export const workspaceCancel = defineOperation({
  name: "workspace_cancel",
  command: ["workspace", "cancel"],
  summary: "End a command that is still running, with all it started",
  description: "",
  profiles: CORE_AND_INSPECT,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    sequence: sequence().describe("Its number, from exec or logs"),
  }),
  output: workspaceCommandRecord,
  positionals: ["workspace_id", "sequence"],
  examples: [{ command: "pyro workspace cancel fix-1 3", says: "the third command" }],
  run: async ({ workspace_id: id, sequence: number }, { pyro, signal }) =>
    toWorkspaceCommandView(await pyro.cancelWorkspaceCommand(id, number, { signal })),
  render: (view) => `command ${view.sequence}: ${outcomeText(view)}`,
});

/** `pyro workspace logs`, `workspace_logs`, `logsWorkspace`. */
export const workspaceLogs = defineOperation({
  name: "workspace_logs",
  command: ["workspace", "logs"],
  summary: "Show the commands of a workspace, or the output of one",
  description:
    "Without --sequence: all commands since the last reset. With it: what that command wrote, from --offset on.",
  profiles: CORE_AND_INSPECT,
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    sequence: sequence().optional().describe("Number of a command; without it all are listed"),
    offset: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .default(0)
      .describe("First byte of its output to show"),
    max_bytes: maxBytes().default(65_536).describe("Most bytes to show; head and tail are kept"),
    wait_seconds: z
      .int()
      .min(0)
      .max(LIMITS.mcpBlockMs / 1000)
      .default(0)
      .describe("Wait up to this long for its end"),
  }),
  output: z.object({ count: z.number(), entries: z.array(execRecord) }),
  positionals: ["workspace_id"],
  examples: [
    { command: "pyro workspace logs fix-1", says: "what ran, and how it ended" },
    {
      command: "pyro workspace logs fix-1 --sequence 3 --offset 65536",
      says: "more of what the third one wrote",
    },
  ],
  run: async (given, { pyro, signal }) => {
    const { workspace_id: id, sequence: number } = given;
    if (number === undefined) {
      const commands = await pyro.listWorkspaceCommands(id, { signal });
      return { count: commands.length, entries: commands.map(toExecRecord) };
    }
    const command = await pyro.logsWorkspace(
      {
        workspaceId: id,
        sequence: number,
        offset: given.offset,
        maxBytes: given.max_bytes,
        waitMs: given.wait_seconds * 1000,
      },
      { signal },
    );
    return { count: 1, entries: [toExecRecord(command)] };
  },
  render: ({ entries }) => {
    const [only] = entries;
    if (only === undefined) return "no command has run since the workspace was made or reset";
    if (entries.length === 1 && only.stdout_bytes + only.stderr_bytes > 0) {
      return `${only.stdout}${only.stderr}[command ${only.sequence}: ${outcomeText(only)}]`;
    }
    return formatTable([
      ["SEQUENCE", "RESULT", "TOOK", "COMMAND"],
      ...entries.map((entry) => [
        String(entry.sequence),
        outcomeText(entry),
        entry.duration_ms === null ? "-" : `${entry.duration_ms} ms`,
        entry.command.split("\n")[0]?.slice(0, 100) ?? "",
      ]),
    ]);
  },
});

/** A command with its output, with the contract's field names. */
export function toExecRecord(record: WorkspaceCommandRecord): z.output<typeof execRecord> {
  const { output, result } = record;
  const text = (data: Uint8Array | undefined): string =>
    Buffer.from(data ?? new Uint8Array()).toString("utf8");
  return {
    ...toWorkspaceCommandView(record),
    environment: result?.environment ?? null,
    execution_mode: "guest",
    isolation: result?.isolation ?? null,
    stdout: text(output?.stdout.data),
    stderr: text(output?.stderr.data),
    stdout_truncated: output?.stdout.truncated ?? false,
    stderr_truncated: output?.stderr.truncated ?? false,
    stdout_bytes: output?.stdout.totalBytes ?? 0,
    stderr_bytes: output?.stderr.totalBytes ?? 0,
  };
}
