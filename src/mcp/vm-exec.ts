import type * as z from "zod";
import { parseInput } from "../operations/index.js";
import { vmExec } from "../operations/vm/life-cycle.js";
import type { TimeLimits } from "./time-limits.js";
import { ANSWER_MS, toolInput, type ToolHandler, type ToolSetting } from "./tool.js";
import { answerRun, cancelRun, followOwnRun } from "./vm-run.js";

/** The handler of `vm_exec`: what takes longer than a call goes on as a run, which `vm_run` reads and waits for. */
export function vmExecHandler(setting: ToolSetting, limits: TimeLimits): ToolHandler {
  const schema = toolInput(vmExec, setting);
  return async (args, call) => {
    const given = parseInput(vmExec, schema, args) as z.output<(typeof vmExec)["input"]>;
    const end = performance.now() + call.blockMs - ANSWER_MS;
    const { vm_id: vmId, command, argv, timeout_seconds: timeoutSeconds } = given;
    // Without the signal: a command whose run nobody learns could not be ended.
    const started = await call.pyro.startExecVm(
      { vmId, command, argv, timeoutSeconds },
      { timeoutMs: call.blockMs },
    );
    if (call.signal.aborted) await cancelRun(started.runId, call.pyro);
    call.signal.throwIfAborted();
    limits.remember(started.runId, timeoutSeconds);
    return answerRun(await followOwnRun(started.runId, end, call), limits);
  };
}
