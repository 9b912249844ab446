import { PyroError } from "../protocol/index.js";
import { visible } from "../operations/index.js";
import { READER_GONE_STATUS, ReaderGone, type Output } from "./output.js";

/** Wrong usage: nothing was tried. */
export class UsageError extends PyroError {
  constructor(message: string, hint: string) {
    super("INVALID_ARGUMENT", message, { hint });
  }
}

/** How the exit status of a failure is chosen: `run` keeps 1 to 124 for the guest's command. */
export type Statuses = "command" | "plain";

/**
 * Shows a failure and gives the exit status: on standard error with its hint, or as one JSON document on standard
 * output. What a guest or a peer wrote into the message cannot drive the terminal.
 */
export async function reportFailure(
  thrown: unknown,
  to: { readonly stdout: Output; readonly stderr: Output },
  how: { readonly json: boolean; readonly statuses: Statuses },
): Promise<number> {
  if (thrown instanceof ReaderGone) return READER_GONE_STATUS;
  const error = PyroError.from(thrown);
  if (how.json) await to.stdout.say(JSON.stringify({ error: error.toJSON() }, null, 2));
  else {
    await to.stderr.say(visible(`${error.code}: ${error.message}`));
    if (error.hint !== "") await to.stderr.say(visible(`hint: ${error.hint}`));
  }
  return how.statuses === "command" ? commandStatus(error) : error instanceof UsageError ? 2 : 1;
}

function commandStatus(error: PyroError): number {
  if (error.code === "COMMAND_NOT_FOUND" || error.code === "NO_SHELL_IN_ENVIRONMENT") return 127;
  if (error.code === "COMMAND_NOT_EXECUTABLE") return 126;
  return 125;
}
