import { launch } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { projectSourceIn } from "../mcp/index.js";
import { doctor, type DoctorRecord } from "../operations/host/doctor.js";
import { Pyro } from "../sdk/index.js";
import type { CommandContext } from "./context.js";
import { anyHostPath, readHostFile } from "./operation.js";
import { reportFailure } from "./failure.js";
import { interrupts } from "./interrupts.js";
import { progressOn } from "./progress.js";

/** `pyro doctor`: the report; with --fix each mending command is shown, asked for, run and proven. */
export async function doctorCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { stdout, stderr, json, host } = context;
  const given = doctor.input.parse(input);
  using interrupt = interrupts(host);
  const progress = progressOn(host.stderr);
  const diagnose = async (): Promise<DoctorRecord> => {
    await using pyro = new Pyro(context.pyroOptions);
    const onProgress = ({ message }: { message: string }): void => progress.show(message, null);
    // The report says it all again: on a terminal the checks pass by, elsewhere they would only double it.
    const hooks = host.stderr.isTTY === true ? { onProgress } : {};
    const report = await doctor.run(given, {
      pyro,
      signal: interrupt.signal,
      hostPath: anyHostPath,
      readHostFile,
      ...hooks,
    });
    progress.clear();
    return { ...report, project_source: projectSourceIn(process.cwd()) };
  };
  try {
    let report = await diagnose();
    if (given.fix && (await mend(report, given.yes, context, interrupt.signal))) report = await diagnose();
    await stdout.write(`${json ? JSON.stringify(report, null, 2) : doctor.render(report)}\n`);
    return report.ok ? 0 : 1;
  } catch (error) {
    progress.clear();
    const status = await reportFailure(error, { stdout, stderr }, { json, statuses: "plain" });
    return interrupt.status() ?? status;
  }
}

/** Runs the fixes that the user agrees to; true when one was run. */
async function mend(
  report: DoctorRecord,
  yes: boolean,
  context: CommandContext,
  signal: AbortSignal,
): Promise<boolean> {
  let ran = false;
  for (const { name, ok, message, fix } of report.checks) {
    const [program, ...args] = fix;
    if (ok || program === undefined) continue;
    await context.stderr.say(`${name}: ${message}\nfix: ${fix.join(" ")}`);
    if (!yes && !(await context.host.confirm("run it?"))) continue;
    ran = true;
    await runFix(program, args, context, signal);
  }
  return ran;
}

async function runFix(
  program: string,
  args: readonly string[],
  context: CommandContext,
  signal: AbortSignal,
): Promise<void> {
  try {
    // It writes to the user's standard error, and may ask there for a password: it stays in our session.
    await using child = await launch(program, args, { stdin: 0, stdout: 2, stderr: 2, foreground: true });
    const end = (): void => void child.close();
    signal.addEventListener("abort", end, { once: true });
    const { code, signal: killedBy } = await child.exited;
    signal.removeEventListener("abort", end);
    if (code !== 0)
      await context.stderr.say(
        `the fix ended with ${code === null ? (killedBy ?? "a signal") : `exit code ${code}`}`,
      );
  } catch (error) {
    await context.stderr.say(`the fix could not be started: ${PyroError.from(error).message}`);
  }
  signal.throwIfAborted();
}
