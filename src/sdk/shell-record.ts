import type {
  Shell as WireShell,
  ShellOutput as WireOutput,
} from "../protocol/gen/pyro/daemon/v1/shell_pb.js";
import { completeUtf8Prefix } from "./utf8.js";

export type ShellState = "running" | "exited" | "closed";

/** A shell of a workspace: a terminal with a program in it. */
export interface ShellRecord {
  readonly workspaceId: string;
  readonly shellId: string;
  readonly state: ShellState;
  readonly cwd: string;
  readonly cols: number;
  readonly rows: number;
  readonly argv: readonly string[];
  /** Once it has exited: one of them. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** Bytes that its terminal has shown, and the first of them that is kept. */
  readonly totalBytes: number;
  readonly firstByte: number;
  readonly openedAt: string;
}

/** What a terminal showed. */
export interface ShellOutput extends ShellRecord {
  /** The bytes themselves; of a plain read, its text as UTF-8. */
  readonly data: Uint8Array;
  readonly output: string;
  readonly cursor: number;
  /** Where the next read goes on. */
  readonly nextCursor: number;
  /** Not all from the cursor on is in the output. */
  readonly truncated: boolean;
  /** Bytes from the cursor on that are gone. */
  readonly droppedBytes: number;
  /** How a wait for idleness ended: the terminal was quiet, waits for input, has exited, or none of them in time. */
  readonly idle: "quiet" | "input" | "exited" | "timeout" | null;
}

const STATES: readonly ShellState[] = ["running", "exited", "closed"];

export function toShellRecord(shell: WireShell | undefined): ShellRecord {
  if (shell === undefined) throw new Error("the daemon answered without a shell");
  const { workspaceId, shellId, cwd, cols, rows, exitCode = null, signal } = shell;
  return {
    ...{ workspaceId, shellId, cwd, cols, rows, exitCode },
    ...{ argv: [...shell.argv], signal: signal === "" ? null : signal },
    state: STATES.find((state) => state === shell.state) ?? "exited",
    totalBytes: Number(shell.totalBytes),
    firstByte: Number(shell.firstByte),
    openedAt: new Date(Number(shell.openedAtMs)).toISOString(),
  };
}

/** A character that a raw read cuts in two comes with the next one, unless nothing else is there. */
export function toShellOutput(read: WireOutput, isPlain: boolean): ShellOutput {
  const whole = isPlain ? read.output : completeUtf8Prefix(read.output);
  const data = whole.length === 0 ? read.output : whole;
  const held = read.output.length - data.length;
  return {
    ...toShellRecord(read.shell),
    data,
    output: Buffer.from(data).toString("utf8"),
    cursor: Number(read.cursor),
    nextCursor: Number(read.nextCursor) - held,
    truncated: read.truncated || held > 0,
    droppedBytes: Number(read.droppedBytes),
    idle: IDLE.find((idle) => idle === read.idle) ?? null,
  };
}

const IDLE = ["quiet", "input", "exited", "timeout"] as const;
