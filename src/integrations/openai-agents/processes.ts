import type { ExecCommandArgs, SandboxExecResult, WriteStdinArgs } from "@openai/agents/sandbox";
import { PyroError } from "../../protocol/index.js";
import type { Pyro, WorkspaceCommandRecord } from "../../sdk/index.js";
import { exitStatus } from "../shared/command.js";

const EXEC_YIELD_MS = 10_000;
const POLL_YIELD_MS = 250;
/** A terminal that was quiet for so long waits for something. */
const IDLE_MS = 400;
/** The longest wait of one read of a terminal. */
const READ_MS = 40_000;
/** The most that a command without a terminal may take; what takes longer is a service. */
const MOST_SECONDS = 3600;
const BYTES_PER_TOKEN = 4;
const INTERRUPT = "\u0003";

/** What still runs behind a call that yielded, and how far it was read. */
type Running =
  | { readonly kind: "command"; readonly sequence: number; offset: number }
  | { readonly kind: "terminal"; readonly shellId: string; cursor: number };

type Result = SandboxExecResult;

/** The commands of one session: those without a terminal are commands of the workspace, the others its shells. */
export class Processes {
  readonly #pyro: Pyro;
  readonly #workspaceId: string;
  readonly #running = new Map<number, Running>();
  #lastId = 0;

  constructor(pyro: Pyro, workspaceId: string) {
    this.#pyro = pyro;
    this.#workspaceId = workspaceId;
  }

  /** Runs until it ends or the time is over; it goes on then, and the result has a session id. */
  async start(args: ExecCommandArgs, env: Readonly<Record<string, string>>): Promise<Result> {
    const begun = performance.now();
    const { cmd, workdir: cwd, shell = "/bin/sh", login = true, yieldTimeMs = EXEC_YIELD_MS } = args;
    const words = [shell, login ? "-lc" : "-c", cmd];
    const argv = args.runAs === undefined ? words : ["runuser", "-u", args.runAs, "--", ...words];
    const workspaceId = this.#workspaceId;
    if (args.tty === true) {
      const named = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      const { shellId } = await this.#pyro.openShell({ workspaceId, cwd, argv: ["env", ...named, ...argv] });
      const running: Running = { kind: "terminal", shellId, cursor: 0 };
      return await this.#readTerminal(
        running,
        this.#remember(running),
        args.maxOutputTokens,
        yieldTimeMs,
        begun,
      );
    }
    const options = { workspaceId, argv, cwd, env, timeoutSeconds: MOST_SECONDS, waitMs: yieldTimeMs };
    const record = await this.#pyro.execWorkspace(options);
    if (record.state === "done") return ended(record, args.maxOutputTokens, begun);
    const running: Running = { kind: "command", sequence: record.sequence, offset: 0 };
    return went(record, running, this.#remember(running), args.maxOutputTokens, begun);
  }

  /** Types into a terminal, or only looks; a command without one takes nothing but Ctrl-C. */
  async write({ sessionId, chars = "", yieldTimeMs, maxOutputTokens }: WriteStdinArgs): Promise<Result> {
    const begun = performance.now();
    const running = this.#running.get(sessionId);
    if (running === undefined)
      throw new PyroError("PROCESS_NOT_FOUND", `there is no running session ${sessionId}`, {
        hint: "start the command again; a session is gone once its end was told",
      });
    const waitMs = yieldTimeMs ?? POLL_YIELD_MS;
    const workspaceId = this.#workspaceId;
    if (running.kind === "terminal") {
      const { shellId } = running;
      if (chars !== "") await this.#pyro.writeShell({ workspaceId, shellId, input: chars });
      return await this.#readTerminal(running, sessionId, maxOutputTokens, waitMs, begun);
    }
    const { sequence, offset } = running;
    if (chars.includes(INTERRUPT)) await this.#pyro.cancelWorkspaceCommand(workspaceId, sequence);
    else if (chars !== "")
      throw new PyroError("INVALID_ARGUMENT", "a command without a terminal has no standard input", {
        hint: "start it with tty true",
      });
    const record = await this.#pyro.logsWorkspace({ workspaceId, sequence, offset, waitMs });
    if (record.state !== "done") return went(record, running, sessionId, maxOutputTokens, begun);
    this.#running.delete(sessionId);
    return ended(record, maxOutputTokens, begun);
  }

  #remember(running: Running): number {
    this.#running.set(++this.#lastId, running);
    return this.#lastId;
  }

  async #readTerminal(
    running: Extract<Running, { kind: "terminal" }>,
    sessionId: number,
    maxTokens: number | undefined,
    yieldTimeMs: number,
    begun: number,
  ): Promise<Result> {
    const at = { workspaceId: this.#workspaceId, shellId: running.shellId };
    const waitMs = Math.min(Math.max(1, yieldTimeMs), READ_MS);
    const read = await this.#pyro.readShell({
      ...at,
      cursor: running.cursor,
      waitForIdleMs: IDLE_MS,
      waitMs,
    });
    running.cursor = read.nextCursor;
    const shown = cut(read.output, maxTokens);
    const common = { ...shown, stdout: read.output, stderr: "", wallTimeSeconds: since(begun) };
    if (read.state === "running" || read.truncated) return { ...common, sessionId };
    this.#running.delete(sessionId);
    await this.#pyro.closeShell(at);
    return { ...common, exitCode: read.exitCode ?? 1 };
  }
}

/** A command that goes on: what it wrote since it was looked at last. */
function went(
  record: WorkspaceCommandRecord,
  running: Extract<Running, { kind: "command" }>,
  sessionId: number,
  maxTokens: number | undefined,
  begun: number,
): Result {
  running.offset = record.output?.nextOffset ?? running.offset;
  const text = textOf(record);
  return { ...cut(text, maxTokens), stdout: text, stderr: "", wallTimeSeconds: since(begun), sessionId };
}

function ended(record: WorkspaceCommandRecord, maxTokens: number | undefined, begun: number): Result {
  const { result, interrupted, output } = record;
  const [stdout, stderr] = [streamText(output?.stdout), streamText(output?.stderr)];
  const common = { ...cut(textOf(record), maxTokens), stdout, wallTimeSeconds: since(begun) };
  if (result !== null) return { ...common, stderr, exitCode: exitStatus(result) };
  return { ...common, stderr: `${stderr}\n[interrupted: ${interrupted ?? "unknown"}]`, exitCode: 1 };
}

type Stream = NonNullable<WorkspaceCommandRecord["output"]>["stdout"];

/** What was cut of it is said in it. */
function streamText(stream: Stream | undefined): string {
  if (stream === undefined) return "";
  const text = Buffer.from(stream.data).toString();
  return stream.truncated ? `${text}\n[${stream.data.length} of ${stream.totalBytes} bytes are shown]` : text;
}

/** Both streams in the order of arrival. */
function textOf({ output }: WorkspaceCommandRecord): string {
  if (output === null) return "";
  const [head, tail] = [output.head, output.tail].map((part) => Buffer.from(part).toString());
  return output.cutBytes === 0
    ? `${head}${tail}`
    : `${head}\n[${output.cutBytes} bytes are left out]\n${tail}`;
}

/** The beginning and the end, within what was asked for. */
function cut(text: string, maxTokens: number | undefined): { output: string; originalTokenCount?: number } {
  const most = (maxTokens ?? Number.POSITIVE_INFINITY) * BYTES_PER_TOKEN;
  if (text.length <= most) return { output: text };
  const half = Math.floor(most / 2);
  const output = `${text.slice(0, half)}\n[${text.length - 2 * half} characters are left out]\n${text.slice(text.length - half)}`;
  return { output, originalTokenCount: Math.ceil(text.length / BYTES_PER_TOKEN) };
}

function since(begun: number): number {
  return (performance.now() - begun) / 1000;
}

/** What the model reads of it, in the form of the SDK's own sandboxes. */
export function responseText(result: Result): string {
  const { wallTimeSeconds, sessionId, exitCode, originalTokenCount, output } = result;
  const state =
    sessionId === undefined
      ? `Process exited with code ${exitCode ?? 1}`
      : `Process running with session ID ${sessionId}`;
  const count = originalTokenCount === undefined ? [] : [`Original token count: ${originalTokenCount}`];
  return [`Wall time: ${wallTimeSeconds.toFixed(4)} seconds`, state, ...count, "Output:", output].join("\n");
}
