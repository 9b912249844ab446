import * as z from "zod";
import { LIMITS, PyroError } from "../../protocol/index.js";
import type { ShellOutput, ShellRecord } from "../../sdk/index.js";
import { snakeKeys } from "../fields.js";
import { declare, defineOperation } from "../operation.js";
import { formatTable } from "../text.js";
import { workspaceId } from "./record.js";
import { secretEnvField } from "./secrets.js";
import { REVIEW } from "./tool-sets.js";

const shellId = (): z.ZodString =>
  z.string().min(1).max(128).describe("Id of the shell, or a unique prefix of it");
const cols = (): z.ZodNumber => z.int().min(1).max(LIMITS.shellColsMax);
const rows = (): z.ZodNumber => z.int().min(1).max(LIMITS.shellRowsMax);

/** A shell, as section 6 of the contract names its fields. */
const shellRecord = z.object({
  workspace_id: z.string(),
  shell_id: z.string(),
  state: z.enum(["running", "exited", "closed"]),
  cwd: z.string(),
  cols: z.number(),
  rows: z.number(),
  argv: z.array(z.string()),
  exit_code: z.number().nullable(),
  signal: z.string().nullable(),
  total_bytes: z.number(),
  first_byte: z.number(),
  opened_at: z.string(),
});

export type ShellView = z.output<typeof shellRecord>;

/** What a terminal showed. */
export const shellOutputRecord = shellRecord.extend({
  output: z.string(),
  cursor: z.number(),
  next_cursor: z.number(),
  truncated: z.boolean(),
  dropped_bytes: z.number(),
  idle: z.enum(["quiet", "input", "exited", "timeout"]).nullable(),
});

/** `pyro workspace shell open`, `shell_open`, `openShell`. */
export const shellOpen = defineOperation({
  name: "shell_open",
  command: ["workspace", "shell", "open"],
  summary: "Open a persistent terminal in a workspace",
  description:
    "A login shell (bash, else sh) with a terminal of its own. It lives until it is closed, or the workspace stops, is " +
    "reset or deleted; it survives the daemon's death. `pyro workspace shell attach` shows it.",
  profiles: REVIEW,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    cwd: z
      .string()
      .max(4096)
      .optional()
      .describe("Where it begins; relative paths lie under /workspace, the default"),
    cols: cols().default(120).describe("Columns of the terminal"),
    rows: rows().default(30).describe("Rows of the terminal"),
    secret_env: secretEnvField,
  }),
  output: shellRecord,
  positionals: ["workspace_id"],
  fullOnly: ["secret_env"],
  idOnly: "shell_id",
  examples: [
    { command: "pyro workspace shell open fix-1 --id-only", says: "a shell, by its id" },
    { command: "pyro workspace shell open fix-1 --cwd src --cols 200", says: "a wide one, in a directory" },
  ],
  run: async (given, { pyro, signal }) =>
    toShellView(
      await pyro.openShell(
        {
          ...{ workspaceId: given.workspace_id, cwd: given.cwd, cols: given.cols, rows: given.rows },
          secretEnv: given.secret_env,
        },
        { signal },
      ),
    ),
  render: renderShell,
});

/** `pyro workspace shell list`, `listShells`. */
export const shellList = defineOperation({
  name: "shell_list",
  command: ["workspace", "shell", "list"],
  summary: "List the shells of a workspace",
  description: "",
  profiles: [],
  kind: "read",
  input: z.strictObject({ workspace_id: workspaceId() }),
  output: z.object({ count: z.number(), shells: z.array(shellRecord) }),
  positionals: ["workspace_id"],
  examples: [{ command: "pyro workspace shell list fix-1", says: "those that were not closed" }],
  run: async ({ workspace_id: id }, { pyro, signal }) => {
    const shells = await pyro.listShells(id, { signal });
    return { count: shells.length, shells: shells.map(toShellView) };
  },
  render: ({ shells }) =>
    shells.length === 0
      ? "no shells"
      : formatTable([
          ["SHELL", "STATE", "SIZE", "DIRECTORY", "PROGRAM"],
          ...shells.map((view) => [
            view.shell_id,
            shellState(view),
            `${view.cols}x${view.rows}`,
            view.cwd,
            view.argv.join(" "),
          ]),
        ]),
});

/** `pyro workspace shell read`, `shell_read`, `readShell`. */
export const shellRead = defineOperation({
  name: "shell_read",
  command: ["workspace", "shell", "read"],
  summary: "Read what a shell's terminal showed",
  description:
    "The bytes from --cursor on, as they came: the newest MiB is kept. With --plain what a person would see: the lines " +
    "that left the screen since the cursor, then the screen, without trailing blanks; where that is more than --max-chars, " +
    "the newest is kept. --wait-for-idle-ms waits until the terminal was quiet for so long, or its program waits for " +
    `input; never longer than ${LIMITS.shellWaitMs / 1000} s.`,
  profiles: REVIEW,
  kind: "read",
  input: z.strictObject({
    workspace_id: workspaceId(),
    shell_id: shellId(),
    cursor: z
      .int()
      .min(0)
      .max(Number.MAX_SAFE_INTEGER)
      .default(0)
      .describe("Where to read on: the next_cursor of the last read"),
    max_chars: z
      .int()
      .min(1)
      .max(LIMITS.shellOutputBytes)
      .default(65_536)
      .describe("Most characters to show"),
    plain: z.boolean().default(false).describe("Show what a person would see"),
    wait_for_idle_ms: z
      .int()
      .min(0)
      .max(LIMITS.shellQuietMs)
      .optional()
      .describe("Wait until nothing was shown for so long, or the program waits for input"),
  }),
  output: shellOutputRecord,
  positionals: ["workspace_id", "shell_id"],
  examples: [
    {
      command: "pyro workspace shell read fix-1 SHELL --plain --wait-for-idle-ms 500",
      says: "the screen, once it is quiet",
    },
    { command: "pyro workspace shell read fix-1 SHELL --cursor 1042 --json", says: "the bytes since then" },
  ],
  run: async (given, { pyro, signal, waitMs }) => {
    const read = await pyro.readShell(
      {
        ...{ workspaceId: given.workspace_id, shellId: given.shell_id, cursor: given.cursor },
        ...{ maxChars: given.max_chars, plain: given.plain },
        ...{ waitForIdleMs: given.wait_for_idle_ms, waitMs },
      },
      { signal },
    );
    return toShellOutputView(read);
  },
  render: ({ output }) => output.replace(/\n$/, ""),
});

/** `pyro workspace shell write`, `shell_write`, `writeShell`. */
export const shellWrite = defineOperation({
  name: "shell_write",
  command: ["workspace", "shell", "write"],
  summary: "Type into a shell",
  description: "The Enter key is pressed behind the input unless --no-newline is given.",
  profiles: REVIEW,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    shell_id: shellId(),
    input: z
      .string()
      .max(LIMITS.shellInputBytes - 1)
      .describe("What to type; control characters are keys"),
    append_newline: z.boolean().default(true).describe("Press Enter behind it"),
    no_newline: z.boolean().default(false).describe("Do not press Enter behind it"),
  }),
  output: shellRecord,
  positionals: ["workspace_id", "shell_id"],
  notOnCommandLine: ["append_newline"],
  notInTool: ["no_newline"],
  examples: [
    { command: "pyro workspace shell write fix-1 SHELL --input 'make test'", says: "a command, and Enter" },
    { command: "pyro workspace shell write fix-1 SHELL --input q --no-newline", says: "a single key" },
  ],
  run: async (given, { pyro, signal }) => {
    // What a terminal sends for the Enter key.
    const enter = given.append_newline && !given.no_newline ? "\r" : "";
    const place = { workspaceId: given.workspace_id, shellId: given.shell_id };
    return toShellView(await pyro.writeShell({ ...place, input: `${given.input}${enter}` }, { signal }));
  },
  render: renderShell,
});

/** `pyro workspace shell signal`, `shell_signal`, `signalShell`. */
export const shellSignal = defineOperation({
  name: "shell_signal",
  command: ["workspace", "shell", "signal"],
  summary: "Send a signal to what runs in a shell's foreground",
  description: "",
  profiles: REVIEW,
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    shell_id: shellId(),
    signal_name: z.string().min(1).max(20).default("INT").describe("INT, TERM, QUIT, HUP, KILL, …"),
  }),
  output: shellRecord,
  positionals: ["workspace_id", "shell_id"],
  commandLineNames: { signal_name: "signal" },
  examples: [{ command: "pyro workspace shell signal fix-1 SHELL --signal TERM", says: "asks it to end" }],
  run: async (given, { pyro, signal }) => {
    const place = { workspaceId: given.workspace_id, shellId: given.shell_id };
    return toShellView(await pyro.signalShell({ ...place, signalName: given.signal_name }, { signal }));
  },
  render: renderShell,
});

/** `pyro workspace shell resize`, `resizeShell`. */
export const shellResize = defineOperation({
  name: "shell_resize",
  command: ["workspace", "shell", "resize"],
  summary: "Give a shell's terminal another size",
  description: "",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    shell_id: shellId(),
    cols: cols().optional().describe("Columns; left out, as they are"),
    rows: rows().optional().describe("Rows; left out, as they are"),
  }),
  output: shellRecord,
  positionals: ["workspace_id", "shell_id"],
  examples: [
    { command: "pyro workspace shell resize fix-1 SHELL --cols 200 --rows 50", says: "a larger one" },
  ],
  run: async (given, { pyro, signal }) => {
    const place = { workspaceId: given.workspace_id, shellId: given.shell_id };
    if (given.cols === undefined && given.rows === undefined) {
      throw new PyroError("INVALID_ARGUMENT", "no size is given", { hint: "give --cols, --rows or both" });
    }
    const now = await pyro.readShell({ ...place, maxChars: 1 }, { signal });
    const size = { cols: given.cols ?? now.cols, rows: given.rows ?? now.rows };
    return toShellView(await pyro.resizeShell({ ...place, ...size }, { signal }));
  },
  render: renderShell,
});

/** `pyro workspace shell close`, `shell_close`, `closeShell`. */
export const shellClose = defineOperation({
  name: "shell_close",
  command: ["workspace", "shell", "close"],
  summary: "Close a shell, and end all that it started",
  description: "What ignores the hang-up is killed after a second. Its output is gone with it.",
  profiles: REVIEW,
  kind: "write",
  input: z.strictObject({ workspace_id: workspaceId(), shell_id: shellId() }),
  output: shellRecord.extend({ closed: z.boolean() }),
  positionals: ["workspace_id", "shell_id"],
  examples: [{ command: "pyro workspace shell close fix-1 SHELL", says: "the end of it" }],
  run: async (given, { pyro, signal }) => {
    const place = { workspaceId: given.workspace_id, shellId: given.shell_id };
    return { ...toShellView(await pyro.closeShell(place, { signal })), closed: true };
  },
  render: renderShell,
});

/** `pyro workspace shell attach`, `attachShell`. */
export const shellAttach = declare({
  name: "shell_attach",
  command: ["workspace", "shell", "attach"],
  summary: "Show a shell in this terminal, and type into it",
  description:
    "The shell takes this terminal's size, and follows it. Ctrl-] detaches (--detach-key changes it); the shell goes on, " +
    "and others may use it meanwhile. An attached shell keeps its workspace from reaching its TTL. What the guest sends " +
    "drives your terminal, as with ssh.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    workspace_id: workspaceId(),
    shell_id: shellId(),
    detach_key: z
      .string()
      .regex(/^(ctrl-[a-z@[\\\]^_]|none)$/i, "give ctrl- and a letter or one of @ [ \\ ] ^ _, or none")
      .default("ctrl-]")
      .describe("The key that detaches, or none"),
  }),
  positionals: ["workspace_id", "shell_id"],
  examples: [{ command: "pyro workspace shell attach fix-1 SHELL", says: "until Ctrl-]" }],
});

/** The SDK's record with the contract's field names. */
function toShellView(shell: ShellRecord): ShellView {
  return shellRecord.parse(snakeKeys(shell));
}

/** The SDK's output with the contract's field names. */
export function toShellOutputView({ data: _, ...output }: ShellOutput): z.output<typeof shellOutputRecord> {
  return shellOutputRecord.parse(snakeKeys(output));
}

/** How a shell is, in a few words. */
export function shellState(view: Pick<ShellView, "state" | "exit_code" | "signal">): string {
  if (view.signal !== null) return `${view.state}, killed ${view.signal}`;
  return view.exit_code === null ? view.state : `${view.state}, exit ${view.exit_code}`;
}

function renderShell(view: ShellView): string {
  return `shell ${view.shell_id} of ${view.workspace_id}: ${shellState(view)}, ${view.cols}x${view.rows}, ${view.cwd}`;
}
