import { checkCommand, PyroError } from "../protocol/index.js";

/** What the caller asked to run: exactly one of a shell line and an argv. */
export interface CommandRequest {
  readonly argv: readonly Uint8Array[];
  readonly command: string;
  readonly env: readonly Uint8Array[];
}

/** Where commands start and what they find: the same in every environment unless it says otherwise. */
const DEFAULT_ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/root",
  USER: "root",
  LOGNAME: "root",
  SHELL: "/bin/bash",
  LANG: "C.UTF-8",
  TERM: "dumb",
};

/** What a shell finds: the same, with a terminal that is a real one. */
export function terminalEnvironment(extra: readonly Uint8Array[] = []): Uint8Array[] {
  return mergeEnvironment([encoder.encode("TERM=xterm-256color"), ...extra]);
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
 * The argv and environment that the guest executes.
 * @throws {PyroError} INVALID_ARGUMENT, ARGUMENT_TOO_LARGE, each naming the argument and its bound
 */
export function resolveCommand(request: CommandRequest): { argv: Uint8Array[]; env: Uint8Array[] } {
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
    ? ["/bin/sh", "-lc", request.command].map((word) => encoder.encode(word))
    : [...request.argv];
  const env = mergeEnvironment(request.env);
  return checkCommand(argv, env);
}

function mergeEnvironment(extra: readonly Uint8Array[]): Uint8Array[] {
  const merged = new Map<string, Uint8Array>();
  for (const [name, value] of Object.entries(DEFAULT_ENVIRONMENT)) {
    merged.set(name, encoder.encode(`${name}=${value}`));
  }
  for (const entry of extra) {
    // latin1 keeps every byte, so that names that are not UTF-8 stay apart.
    const text = Buffer.from(entry).toString("latin1");
    const equals = text.indexOf("=");
    // An entry without a name is kept for checkCommand to refuse.
    merged.set(equals > 0 ? text.slice(0, equals) : text, entry);
  }
  return [...merged.values()];
}
