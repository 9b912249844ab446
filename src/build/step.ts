import { posix } from "node:path";
import { LIMITS } from "../protocol/index.js";
import type { Action } from "./action.js";
import type { BuildContext, ContextSource } from "./context.js";
import type { StepMachine } from "./machines.js";
import { failedStep, OutputTail, type NumberedStep } from "./step-errors.js";

/** A step with its name, and what it takes of the context. */
export interface KeyedStep extends NumberedStep {
  readonly key: string;
  readonly sources: readonly (ContextSource & { readonly digest: string })[];
}

export interface StepOptions {
  readonly stepTimeoutMs: number;
  /** What its command prints; its next output waits until this was taken. */
  readonly onOutput: (data: Uint8Array) => Promise<void>;
  readonly signal: AbortSignal;
}

/** Whose a copy is, and with which bits. */
export function ownership({ uid, gid, mode }: Extract<Action, { kind: "copy" }>) {
  return { uid, gid, ...(mode === undefined ? {} : { mode }) };
}

/**
 * Does a step in its machine.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED where its command fails, what the machine and the context throw
 */
export async function doStep(
  machine: StepMachine,
  step: KeyedStep,
  context: BuildContext | undefined,
  { stepTimeoutMs, onOutput, signal }: StepOptions,
): Promise<void> {
  const { action, workingDir, user } = step;
  if (!(await machine.isDirectory(workingDir, signal))) await machine.extract(workingDir, nothing(), signal);
  if (action.kind === "copy" && context !== undefined) await copy(machine, step, action, context, signal);
  if (action.kind !== "run") return;
  const tail = new OutputTail(LIMITS.buildTailBytes);
  const { argv, env } = action;
  const exit = await machine.run(
    { argv, env, user, cwd: workingDir, timeoutMs: stepTimeoutMs },
    async ({ data }) => {
      tail.add(data);
      await onOutput(data);
    },
    signal,
  );
  if (exit.exitCode !== 0) throw failedStep(step, exit, stepTimeoutMs, tail.text);
}

/** A directory's content goes into the destination; so does a file where that is a directory, else it is the file itself. */
async function copy(
  machine: StepMachine,
  { sources }: KeyedStep,
  action: Extract<Action, { kind: "copy" }>,
  context: BuildContext,
  signal: AbortSignal,
): Promise<void> {
  const { destination } = action;
  const isDirectory =
    destination.endsWith("/") || sources.length > 1 || (await machine.isDirectory(destination, signal));
  for (const { kind, path, digest } of sources) {
    const into = kind === "directory" || isDirectory;
    const directory = into ? destination : posix.dirname(destination);
    const own = path.slice(path.lastIndexOf("/") + 1);
    const name = into ? own : Buffer.from(posix.basename(destination)).toString("latin1");
    const tar = context.stream({ kind, path }, { ...ownership(action), name, digest }, signal);
    try {
      await machine.extract(directory, tar, signal);
    } finally {
      // A stream that was begun holds files of the context open.
      await tar.return();
    }
  }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, void> {
  yield new Uint8Array(1024);
}
