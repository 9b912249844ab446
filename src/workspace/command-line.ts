import { checkCommand, PyroError } from "../protocol/index.js";
import type { EnvironmentConfig } from "./environment-config.js";

/** What the caller asked to run: exactly one of a shell line and an argv. */
export interface CommandRequest {
  readonly argv: readonly Uint8Array[];
  readonly command: string;
  readonly env: readonly Uint8Array[];
}

/** The same as a machine takes it. */
export interface ResolvedCommand extends CommandUser {
  readonly argv: Uint8Array[];
  readonly env: Uint8Array[];
}

/** Whom commands run as. */
export interface CommandUser {
  /** In the words of an image's configuration, looked up in the machine; absent: root, with the variables that say so. */
  readonly user?: string;
}

/** What commands find in every environment. */
export const DEFAULT_ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LANG: "C.UTF-8",
  TERM: "dumb",
};

/** And where no configuration names a user: of any other the machine says who it is. */
const ROOT: Readonly<Record<string, string>> = {
  HOME: "/root",
  USER: "root",
  LOGNAME: "root",
  SHELL: "/bin/bash",
};

/** What a shell finds: the same, with a terminal that is a real one. */
export function terminalEnvironment(
  extra: readonly Uint8Array[] = [],
  config?: EnvironmentConfig | null,
): Uint8Array[] {
  return mergeEnvironment([encoder.encode("TERM=xterm-256color"), ...extra], config);
}

/** The guest directory where commands start. */
export const WORKSPACE_PATH = "/workspace";

/** A path of the guest: relative ones lie under /workspace (contract section 1). */
export function absolutePath(path: string): string {
  if (path.includes("\0")) {
    throw new PyroError("INVALID_ARGUMENT", "a path holds a NUL byte", { hint: "leave it out" });
  }
  if (path === "") return WORKSPACE_PATH;
  return path.startsWith("/") ? path : `${WORKSPACE_PATH}/${path}`;
}

const encoder = new TextEncoder();

/**
 * The argv, environment and user that the guest executes. What the environment's configuration says holds below what the
 * caller says, and above what pyro gives everywhere.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE, each naming the argument and its bound
 */
export function resolveCommand(request: CommandRequest, config?: EnvironmentConfig | null): ResolvedCommand {
  const hasLine = request.command !== "";
  if (hasLine === request.argv.length > 0) {
    throw new PyroError(
      "INVALID_ARGUMENT",
      hasLine ? "both command and argv are given" : "no command is given",
      {
        hint: "give exactly one of them: `command` is a line for /bin/sh, `argv` a list of words run without a shell",
      },
    );
  }
  const argv = hasLine
    ? ["/bin/sh", readsProfile(config) ? "-lc" : "-c", request.command].map((word) => encoder.encode(word))
    : [...request.argv];
  return { ...checkCommand(argv, mergeEnvironment(request.env, config)), ...userOf(config) };
}

/** Whom the environment's programs run as. */
export function userOf(config: EnvironmentConfig | null | undefined): CommandUser {
  if (config === null || config === undefined) return {};
  return { user: config.user === "" ? "0" : config.user };
}

/** A profile sets PATH as its distribution has it: where an image has one of its own, shells read none. */
export function readsProfile(config: EnvironmentConfig | null | undefined): boolean {
  return config?.env.some((entry) => entry.startsWith("PATH=")) !== true;
}

function mergeEnvironment(
  extra: readonly Uint8Array[],
  config: EnvironmentConfig | null | undefined,
): Uint8Array[] {
  const own = Object.entries(
    config === null || config === undefined ? { ...DEFAULT_ENVIRONMENT, ...ROOT } : DEFAULT_ENVIRONMENT,
  ).map(([name, value]) => `${name}=${value}`);
  const merged = new Map<string, Uint8Array>();
  for (const entry of [...[...own, ...(config?.env ?? [])].map((text) => encoder.encode(text)), ...extra]) {
    // latin1 keeps every byte, so that names that are not UTF-8 stay apart.
    const text = Buffer.from(entry).toString("latin1");
    const equals = text.indexOf("=");
    // An entry without a name is kept for checkCommand to refuse.
    merged.set(equals > 0 ? text.slice(0, equals) : text, entry);
  }
  return [...merged.values()];
}
