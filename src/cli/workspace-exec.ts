import { commandExitCode } from "../operations/vm/run.js";
import { toExecRecord, workspaceExec } from "../operations/workspace/exec.js";
import {
  Pyro,
  type ExecEvent,
  type ExecStream,
  type ExecWorkspaceOptions,
  type WorkspaceCommandRecord,
} from "../sdk/index.js";
import type { CommandContext } from "./context.js";
import { reportFailure } from "./failure.js";
import { interrupts } from "./interrupts.js";
import { proven } from "./proven.js";
import { RawArguments } from "./raw-arguments.js";
import { takeVariables } from "./run-input.js";
import { secretVariables } from "./secret-variables.js";

/** `pyro workspace exec`: streams both ways; the exit status is the command's own. It goes on when this process dies. */
export async function workspaceExecCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { stdout, stderr, json, host } = context;
  const options = toOptions(input, host.rawArgv());
  const stdin = host.openStdin();
  let stream: ExecStream | undefined;
  using interrupt = interrupts(host, () => {
    if (stream === undefined) return false;
    void stream.signal("SIGINT");
    return true;
  });
  await using pyro = new Pyro(context.pyroOptions);
  try {
    const events = pyro.streamWorkspaceExec({ ...options, stdin }, { signal: interrupt.signal });
    let result: WorkspaceCommandRecord | undefined;
    for await (const event of events) {
      if (event.type === "started") stream = events;
      else if (event.type === "result") result = event.result;
      else if (event.type === "reconnecting" || event.type === "skipped")
        await stderr.say(`pyro: ${wordsOf(event, stdin !== undefined)}`);
      else if (!json) await (event.type === "stdout" ? stdout : stderr).write(event.data);
    }
    if (result === undefined) throw new Error("the command ended without a result");
    if (json) await printJson(pyro, result, context);
    else await explain(result, context);
    return interrupt.status() ?? statusOf(result);
  } catch (error) {
    const interrupted = interrupt.status();
    if (interrupted !== undefined && !json) return interrupted;
    const status = await reportFailure(error, { stdout, stderr }, { json, statuses: "command" });
    return interrupted ?? status;
  }
}

/** What happened on the way that is not the command's. */
function wordsOf(event: Extract<ExecEvent, { type: "reconnecting" | "skipped" }>, hasInput: boolean): string {
  if (event.type === "skipped") return `${event.bytes} bytes of its ${event.stream} were not kept meanwhile`;
  const input = hasInput ? "; it gets no more standard input" : "";
  return `${event.error.message}; the command goes on, and so does its output${input}`;
}

function toOptions(input: Record<string, unknown>, rawArgv: readonly Uint8Array[]): ExecWorkspaceOptions {
  const raw = new RawArguments(rawArgv);
  const { record, take } = takeVariables(input["env"]);
  const secretEnv = secretVariables(input["secret_env"]);
  const given = proven(workspaceExec, { ...input, env: record, secret_env: secretEnv });
  const env = take(raw);
  return {
    workspaceId: given.workspace_id,
    argv: (given.argv ?? []).map((word) => raw.take(word)),
    env,
    cwd: given.cwd,
    timeoutSeconds: given.timeout_seconds,
    secretEnv: given.secret_env,
  };
}

async function printJson(
  pyro: Pyro,
  { workspaceId, sequence }: WorkspaceCommandRecord,
  { stdout }: CommandContext,
): Promise<void> {
  const kept = await pyro.logsWorkspace({ workspaceId, sequence });
  await stdout.write(`${JSON.stringify(toExecRecord(kept), null, 2)}\n`);
}

async function explain(record: WorkspaceCommandRecord, { stderr }: CommandContext): Promise<void> {
  if (record.interrupted !== null)
    await stderr.say(`pyro: the command was interrupted: ${record.interrupted}`);
  if (record.result?.timedOut === true)
    await stderr.say("pyro: the command was killed at its time limit (--timeout-seconds sets it)");
  if (record.result?.outOfMemory === true)
    await stderr.say("pyro: the guest ran out of memory (--mem-mib of create gives it more)");
  if (record.networkRefusal !== null) await stderr.say(`pyro: network: ${record.networkRefusal}`);
}

/** What never ended by itself is pyro's failure, not the command's. */
function statusOf({ result }: WorkspaceCommandRecord): number {
  if (result === null) return 125;
  return commandExitCode({ exit_code: result.exitCode, signal: result.signal, timed_out: result.timedOut });
}
