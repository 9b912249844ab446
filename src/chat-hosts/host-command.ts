import { complete, findProgram, LaunchError, searchPath, type Completed } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { HostWorld } from "./chat-host.js";
import { shownLine } from "./shell-line.js";

/** Hosts answer within seconds; those that start every server they know need more. */
const COMMAND_MS = 30_000;
/** What is kept of what a command prints. */
const OUTPUT_BYTES_MAX = 1024 * 1024;
/** What is shown of it in an error. */
const SHOWN_CHARS = 300;

export interface HostCommand {
  readonly program: string;
  readonly args: readonly string[];
  /** Passed on standard input, where nobody sees it in a list of processes. */
  readonly input?: string;
}

/**
 * Runs a command of a host to its end, as the user would: with their variables, in their directory. A non-zero exit is
 * a result.
 * @throws {PyroError} HOST_NOT_INSTALLED, HOST_COMMAND_FAILED when it does not end in time or cannot be started
 */
export async function runHostCommand(world: HostWorld, command: HostCommand): Promise<Completed> {
  const { program, args, input } = command;
  const path = await findProgram(program, searchPath(world.env["PATH"]));
  if (path === undefined) {
    throw new PyroError("HOST_NOT_INSTALLED", `there is no \`${program}\` on PATH`, {
      hint: "install it, or put its directory on PATH",
    });
  }
  const timeoutMs = world.commandMs ?? COMMAND_MS;
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal = world.signal === undefined ? deadline : AbortSignal.any([world.signal, deadline]);
  try {
    const how = { env: world.env, cwd: world.cwd, signal, maxBytes: OUTPUT_BYTES_MAX, graceMs: 1_000 };
    return await complete(path, args, { ...how, ...(input === undefined ? {} : { input }) });
  } catch (error) {
    world.signal?.throwIfAborted();
    if (deadline.aborted) throw failed(command, `did not end within ${Math.ceil(timeoutMs / 1000)} s`);
    if (error instanceof LaunchError) throw failed(command, `cannot be started: ${error.code}`);
    throw error;
  }
}

/**
 * The same where only success will do.
 * @throws {PyroError} HOST_NOT_INSTALLED, HOST_COMMAND_FAILED
 */
export async function requireHostCommand(world: HostWorld, command: HostCommand): Promise<string> {
  const result = await runHostCommand(world, command);
  if (result.code === 0) return result.stdout;
  const how = result.code === null ? `ended by ${result.signal ?? "a signal"}` : `exit code ${result.code}`;
  throw failed(command, `failed (${how}): ${saidOf(result)}`);
}

/** What a command said, as one bounded line without colours. */
export function saidOf({ stdout, stderrTail }: Completed): string {
  const said = plain(`${stderrTail}\n${stdout}`)
    .split("\n")
    .map((line) => line.trim());
  // What follows is of use to the host's own developers only.
  const end = said.findIndex((line) => line.startsWith("Stack backtrace"));
  const text = (end < 0 ? said : said.slice(0, end)).filter((line) => line !== "").join("; ");
  return text === "" ? "it said nothing" : text.slice(0, SHOWN_CHARS);
}

/** Text without terminal sequences. */
export function plain(text: string): string {
  return text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "");
}

/** A command of a host that did not do what it was started for. */
export function failed({ program, args }: HostCommand, what: string): PyroError {
  const line = shownLine([program, ...args]);
  return new PyroError("HOST_COMMAND_FAILED", `\`${line}\` ${what}`, {
    hint: `run \`${line}\` yourself to see what it says; what pyro would write: \`pyro host print-config\``,
  });
}
