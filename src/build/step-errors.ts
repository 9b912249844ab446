import { PyroError, type ErrorCode } from "../protocol/index.js";
import type { CommandExit } from "../workspace/index.js";
import type { PlannedStep } from "./plan.js";

/** A step and where it stands among those of its build. */
export interface NumberedStep extends PlannedStep {
  /** From 1. */
  readonly number: number;
  readonly total: number;
}

/** Of a step's text, in messages. */
const TEXT_CHARACTERS = 200;

/** The end of what a command printed. */
export class OutputTail {
  #bytes = Buffer.alloc(0);

  constructor(private readonly maxBytes: number) {}

  add(data: Uint8Array): void {
    this.#bytes = Buffer.concat([this.#bytes, data.subarray(-this.maxBytes)]).subarray(-this.maxBytes);
  }

  get text(): string {
    return this.#bytes.toString("utf8").trimEnd();
  }
}

/** The error of a command that failed. */
export function failedStep(
  step: NumberedStep,
  exit: CommandExit,
  timeoutMs: number,
  tail: string,
): PyroError {
  const { exitCode, signal, timedOut, outOfMemory } = exit;
  const hint = timedOut
    ? "give it longer: `--timeout-seconds N`"
    : outOfMemory
      ? "give it more: `--mem-mib N`"
      : "mend it, then build again";
  const output = tail === "" ? "" : `\n${tail}`;
  return new PyroError(
    "ENVIRONMENT_BUILD_FAILED",
    `${about(step)} failed: ${howItEnded(exit, timeoutMs)}${output}`,
    {
      hint: `${hint}; the steps before it are kept`,
      details: {
        ...placeOf(step),
        exit_code: exitCode ?? null,
        signal: signal ?? null,
        timed_out: timedOut,
        out_of_memory: outOfMemory,
        output_tail: tail,
      },
    },
  );
}

/** How a command ended, for messages. */
export function howItEnded(
  { exitCode, signal, timedOut, outOfMemory }: CommandExit,
  timeoutMs: number,
): string {
  if (timedOut) return `it took longer than ${timeoutMs / 1000} s`;
  if (outOfMemory) return "it ran out of memory";
  return signal === undefined ? `exit ${exitCode ?? "unknown"}` : `killed by ${signal}`;
}

/** What to type next where the machine's own words speak of commands outside of a build. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  GUEST_USER_NOT_FOUND: "add the user in a step before, or name it by its number",
  NO_SHELL_IN_ENVIRONMENT:
    'name a program and its words: RUN ["/app", "word"] in a Dockerfile, run = ["/app", "word"] in a recipe',
};

/** Any other error of a step: with the same code, and which step it was. */
export function namingStep(step: NumberedStep, thrown: unknown): PyroError {
  const error = PyroError.from(thrown);
  if (error.details["step"] !== undefined) return error;
  return new PyroError(error.code, `${about(step)}: ${error.message}`, {
    hint: HINTS[error.code] ?? error.hint,
    details: { ...error.details, ...placeOf(step) },
    retryable: error.retryable,
    cause: error,
  });
}

function about({ number, total, place, text }: NumberedStep): string {
  const short = text.length > TEXT_CHARACTERS ? `${text.slice(0, TEXT_CHARACTERS)}…` : text;
  return `step ${number} of ${total} (${place.text}) ${short}`;
}

function placeOf({ number, place }: NumberedStep) {
  return { step: number, place: place.text, ...(place.line === undefined ? {} : { line: place.line }) };
}
