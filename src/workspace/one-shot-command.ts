import { PyroError } from "../protocol/index.js";
import { resolveCommand, WORKSPACE_PATH, type CommandRequest, type ResolvedCommand } from "./command-line.js";
import type { EnvironmentConfig } from "./environment-config.js";

/** A command for a machine of its own, and where it starts. */
interface ResolvedOneShot extends ResolvedCommand {
  readonly cwd: string;
  readonly makeCwd: boolean;
}

interface OneShotRequest extends CommandRequest {
  readonly environment: string;
}

const encoder = new TextEncoder();

/** What cannot be run in any environment costs neither a pull nor a machine. @throws {PyroError} as resolveCommand does */
export function checkGiven(request: CommandRequest): void {
  if (isGiven(request)) resolveCommand(request);
}

/**
 * What runs, and where. A command that is given runs as it is: an entrypoint is no part of it. Without one it is the
 * environment's entrypoint with its arguments. It starts in the image's working directory, which is made where it is
 * missing, else in /workspace.
 * @throws {PyroError} COMMAND_REQUIRED; INVALID_ARGUMENT, ARGUMENT_TOO_LARGE
 */
export function resolveOneShot(
  request: OneShotRequest,
  config: EnvironmentConfig | undefined,
): ResolvedOneShot {
  const own = config === undefined ? [] : [...config.entrypoint, ...config.cmd];
  if (!isGiven(request) && own.length === 0) throw commandRequired(request.environment);
  const command = isGiven(request) ? request : { ...request, argv: own.map((word) => encoder.encode(word)) };
  const directory = config?.workingDir ?? "";
  return {
    ...resolveCommand(command, config),
    cwd: directory === "" ? WORKSPACE_PATH : directory.startsWith("/") ? directory : `/${directory}`,
    makeCwd: directory !== "",
  };
}

function isGiven({ argv, command }: CommandRequest): boolean {
  return argv.length > 0 || command !== "";
}

function commandRequired(environment: string): PyroError {
  return new PyroError(
    "COMMAND_REQUIRED",
    `no command is given, and the environment "${environment}" has none of its own`,
    {
      hint: `say what to run: \`pyro run ${environment} -- PROGRAM ARGUMENTS\`, or argv`,
      details: { environment },
    },
  );
}
