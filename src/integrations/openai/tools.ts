import type { OpenAI } from "openai";
import type { PyroTools } from "../../mcp/index.js";
import type { ExecWorkspaceOptions, Pyro } from "../../sdk/index.js";
import { exitStatus, runCommand, throwIfAborted } from "../shared/command.js";
import { applyOperation } from "../shared/patch.js";
import { wordsOf } from "../shared/words.js";

type OutputItem = OpenAI.Responses.ResponseOutputItem;
type InputItem = OpenAI.Responses.ResponseInputItem;

/** Tools for requests of the Responses API, and who answers their calls. */
export interface ResponsesTools {
  /** For `tools` of a request. */
  readonly definitions: OpenAI.Responses.Tool[];
  /**
   * What answers one item of a response's output, for `input` of the next request; undefined where that is no call of
   * these tools. What fails is an answer, which the model can act on.
   * @throws {PyroError} CANCELLED only
   */
  readonly answer: (
    item: OutputItem,
    options?: { readonly signal?: AbortSignal | undefined },
  ) => Promise<InputItem | undefined>;
}

/**
 * The tools of `createTools` as functions. Not `strict`: that demands every field of every call, and most of ours may be
 * left out. It answers every function call: one of a name that does not exist with those that do.
 */
export function functionTools({ tools, call }: Pick<PyroTools, "tools" | "call">): ResponsesTools {
  return {
    definitions: tools.map(({ name, description, inputSchema }) => ({
      ...{ type: "function", name, description, strict: false },
      parameters: inputSchema,
    })),
    answer: async (item, { signal } = {}) => {
      if (item.type !== "function_call") return undefined;
      const { text } = await call(item.name, item.arguments, { signal });
      throwIfAborted(signal);
      return { type: "function_call_output", call_id: item.call_id, output: text };
    },
  };
}

const MOST_SECONDS = 600;
/** Of each stream of a command, head and tail. */
const SHOWN_BYTES = 64 * 1024;

/** The API's own tools `shell` and `apply_patch` over one workspace; it also answers the older `local_shell`. */
export function workspaceTools(pyro: Pyro, workspaceId: string): ResponsesTools {
  return {
    definitions: [{ type: "shell", environment: { type: "local" } }, { type: "apply_patch" }],
    answer: async (item, { signal } = {}) => {
      if (item.type === "shell_call") return await answerShell(pyro, workspaceId, item, signal);
      if (item.type === "local_shell_call") return await answerLocalShell(pyro, workspaceId, item, signal);
      if (item.type === "apply_patch_call") return await answerPatch(pyro, workspaceId, item, signal);
      return undefined;
    },
  };
}

async function answerShell(
  pyro: Pyro,
  workspaceId: string,
  { call_id, action }: OpenAI.Responses.ResponseFunctionShellToolCall,
  signal: AbortSignal | undefined,
): Promise<InputItem> {
  const output: OpenAI.Responses.ResponseFunctionShellCallOutputContent[] = [];
  // One behind the other, as they stand; none after one that timed out.
  for (const command of action.commands) {
    const options = {
      workspaceId,
      command,
      timeoutSeconds: secondsOf(action.timeout_ms),
    };
    const { stdout, stderr, exitCode } = await finished(pyro, options, signal);
    if (exitCode === null) {
      output.push({ stdout, stderr, outcome: { type: "timeout" } });
      break;
    }
    output.push({ stdout, stderr, outcome: { type: "exit", exit_code: exitCode } });
  }
  const { max_output_length } = action;
  return {
    type: "shell_call_output",
    call_id,
    output,
    ...(max_output_length == null ? {} : { max_output_length }),
  };
}

async function answerLocalShell(
  pyro: Pyro,
  workspaceId: string,
  { call_id, action }: OpenAI.Responses.ResponseOutputItem.LocalShellCall,
  signal: AbortSignal | undefined,
): Promise<InputItem> {
  const { command: argv, env, timeout_ms, user, working_directory } = action;
  const wanted = user == null ? argv : ["runuser", "-u", user, "--", ...argv];
  const at = { cwd: working_directory ?? undefined, env, timeoutSeconds: secondsOf(timeout_ms) };
  const { stdout, stderr, exitCode } = await finished(pyro, { workspaceId, argv: wanted, ...at }, signal);
  const output = JSON.stringify({ stdout, stderr, exit_code: exitCode, timed_out: exitCode === null });
  return { type: "local_shell_call_output", id: call_id, output };
}

async function answerPatch(
  pyro: Pyro,
  workspaceId: string,
  { call_id, operation }: OpenAI.Responses.ResponseApplyPatchToolCall,
  signal: AbortSignal | undefined,
): Promise<InputItem> {
  const answer = { type: "apply_patch_call_output", call_id } as const;
  try {
    const output = await applyOperation(pyro, workspaceId, operation, signal);
    return { ...answer, status: "completed", output };
  } catch (error) {
    return { ...answer, status: "failed", output: wordsUnlessAborted(error, signal) };
  }
}

/** How a command ended, as function calling APIs want it. */
interface Finished {
  readonly stdout: string;
  readonly stderr: string;
  /** As a shell tells it; null: it timed out. */
  readonly exitCode: number | null;
}

/** Runs a command to its end. One that could not be run, or was lost, has words of ours where its own would stand. */
async function finished(
  pyro: Pyro,
  command: ExecWorkspaceOptions,
  signal: AbortSignal | undefined,
): Promise<Finished> {
  try {
    const result = await runCommand(pyro, command, { signal, maxOutputBytes: SHOWN_BYTES });
    const { stdoutTruncated, stdoutBytes, stderrTruncated, stderrBytes } = result;
    return {
      stdout: stdoutTruncated ? cut(result.stdout, stdoutBytes) : result.stdout,
      stderr: stderrTruncated ? cut(result.stderr, stderrBytes) : result.stderr,
      exitCode: result.timedOut ? null : exitStatus(result),
    };
  } catch (error) {
    return { stdout: "", stderr: wordsUnlessAborted(error, signal), exitCode: 126 };
  }
}

function cut(text: string, totalBytes: number): string {
  return `${text}\n[${Buffer.byteLength(text)} of ${totalBytes} bytes are shown]`;
}

/** @throws {PyroError} CANCELLED: nobody waits for the answer any more */
function wordsUnlessAborted(thrown: unknown, signal: AbortSignal | undefined): string {
  throwIfAborted(signal);
  return wordsOf(thrown);
}

function secondsOf(timeoutMs: number | null | undefined): number {
  return timeoutMs == null ? MOST_SECONDS : Math.min(MOST_SECONDS, Math.max(1, Math.ceil(timeoutMs / 1000)));
}
