import { commandExitCode, toCommandRecord } from "../operations/vm/run.js";
import { collectEvents, Pyro, type CommandOutcome, type RunEvent, type RunStream } from "../sdk/index.js";
import type { CommandContext } from "./context.js";
import { sayEmulationOnce } from "./emulation-notice.js";
import { reportFailure } from "./failure.js";
import { interrupts } from "./interrupts.js";
import { progressOn, type Progress } from "./progress.js";
import { toRunOptions } from "./run-input.js";

/** `pyro run`: streams both ways; the exit status is the command's own. */
export async function runCommand(input: Record<string, unknown>, context: CommandContext): Promise<number> {
  const { stdout, stderr, json, host } = context;
  const options = toRunOptions(input, host.rawArgv());
  const stdin = host.openStdin();
  let stream: RunStream | undefined;
  using interrupt = interrupts(host, () => {
    if (stream === undefined) return false;
    void stream.signal("SIGINT");
    return true;
  });
  await using pyro = new Pyro(context.pyroOptions);
  const progress = quietly(progressOn(host.stderr), host.stderr.isTTY === true || json);
  try {
    const run = pyro.streamInVm({ ...options, stdin }, { signal: interrupt.signal });
    // Before the command runs there is nobody to pass a signal to.
    const events = marked(run, progress, () => (stream = run));
    const outcome = json ? await printJson(events, context) : await copyThrough(events, context);
    await sayEmulationOnce(outcome.isolation, pyro.stateDir, stderr);
    return interrupt.status() ?? statusOf(outcome);
  } catch (error) {
    progress.clear();
    const interrupted = interrupt.status();
    if (interrupted !== undefined && !json) return interrupted;
    const status = await reportFailure(error, { stdout, stderr }, { json, statuses: "command" });
    return interrupted ?? status;
  }
}

function statusOf(outcome: CommandOutcome): number {
  return commandExitCode({
    exit_code: outcome.exitCode,
    signal: outcome.signal,
    timed_out: outcome.timedOut,
  });
}

/** The same events; phases are shown for as long as nothing else is. */
async function* marked(run: RunStream, progress: Progress, onRunning: () => void): AsyncGenerator<RunEvent> {
  for await (const event of run) {
    if (event.type !== "phase" || event.phase === "running") progress.clear();
    else progress.show(event.message, event.progress);
    if (event.type === "phase" && event.phase === "running") onRunning();
    yield event;
  }
}

/** Where nobody watches, only a pull is worth a line: it takes long. */
function quietly(progress: Progress, watched: boolean): Progress {
  if (watched) return progress;
  return {
    show: (message, fraction) => {
      if (fraction !== null) progress.show(message, fraction);
    },
    clear: () => progress.clear(),
  };
}

/** The guest's bytes as they are; the command waits while ours are not taken. */
async function copyThrough(
  events: AsyncIterable<RunEvent>,
  { stdout, stderr }: CommandContext,
): Promise<CommandOutcome> {
  const outcome = await collectEvents(events, {
    onStdout: (data) => stdout.write(data),
    onStderr: (data) => stderr.write(data),
    maxOutputBytes: 0,
  });
  if (outcome.timedOut)
    await stderr.say("pyro: the command was killed at its time limit (--timeout-seconds sets it)");
  if (outcome.outOfMemory) await stderr.say("pyro: the guest ran out of memory (--mem-mib gives it more)");
  return outcome;
}

async function printJson(
  events: AsyncIterable<RunEvent>,
  { stdout }: CommandContext,
): Promise<CommandOutcome> {
  const result = await collectEvents(events, {});
  await stdout.write(`${JSON.stringify(toCommandRecord(result), null, 2)}\n`);
  return result;
}
