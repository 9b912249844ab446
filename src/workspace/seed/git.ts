import { LIMITS, PyroError } from "../../protocol/index.js";
import { runProgram, type ProgramResult } from "./host-program.js";
import { shown, textOf } from "./path.js";

/** Nothing that a checkout's configuration names is run, and nothing in it is written, its index included. */
const QUIET = [
  ...["-c", "core.fsmonitor=false"],
  ...["-c", "core.hooksPath=/dev/null"],
  ...["-c", "core.untrackedCache=false"],
  ...["-c", "gc.auto=0"],
  ...["-c", "advice.detachedHead=false"],
];

/** Of the user's variables none reaches git but HOME and PATH: GIT_DIR and its like would lead it elsewhere. */
const GIT_ENVIRONMENT: Readonly<Record<string, string>> = {
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_OPTIONAL_LOCKS: "0",
  GIT_TERMINAL_PROMPT: "0",
  GIT_ASKPASS: "true",
  // A partial clone would fetch what it lacks.
  GIT_ALLOW_PROTOCOL: "none",
  LC_ALL: "C.UTF-8",
};

export interface GitOptions {
  readonly signal: AbortSignal;
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

/** Runs git; a non-zero exit is a result. @throws {PyroError} HOST_TOOL_NOT_FOUND, SEED_TOO_LARGE */
export function git(args: readonly string[], options: GitOptions): Promise<ProgramResult> {
  return runProgram("git", [...QUIET, ...args], {
    signal: options.signal,
    cwd: options.cwd,
    env: { ...GIT_ENVIRONMENT, ...options.env },
    maxBytes: LIMITS.gitListBytes,
    ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
  });
}

/** What git printed, without the line's end. @throws {PyroError} PROJECT_UNREADABLE where git fails */
export async function gitText(args: readonly string[], options: GitOptions): Promise<string> {
  const result = await git(args, options);
  if (result.code !== 0) throw gitError(options.cwd, args, result);
  return result.stdout.replace(/\n$/, "");
}

/** A list that git ended with NULs. @throws {PyroError} PROJECT_UNREADABLE where git fails */
export async function gitList(args: readonly string[], options: GitOptions): Promise<string[]> {
  const result = await git(args, options);
  if (result.code !== 0) throw gitError(options.cwd, args, result);
  const items = result.stdout.split("\0");
  items.pop();
  return items;
}

/** What git said about a checkout, with the way out where it is known. */
export function gitError(path: string, args: readonly string[], result: ProgramResult): PyroError {
  const said = saidOf(result);
  const at = shown(textOf(path));
  if (said.includes("dubious ownership")) {
    return new PyroError(
      "PROJECT_UNREADABLE",
      `the checkout ${at} belongs to another user, and git refuses it`,
      {
        hint: `if you trust it: \`git config --global --add safe.directory ${path}\`; or seed the plain directory with \`--seed-path ${path}\``,
        details: { path, git: said },
      },
    );
  }
  return new PyroError(
    "PROJECT_UNREADABLE",
    `git cannot read the checkout ${at}: git ${args[0] ?? ""}: ${said}`,
    {
      hint: `mend it until \`git -C ${path} status\` works; or seed the plain directory with \`--seed-path ${path}\``,
      details: { path, git: said },
    },
  );
}

/** The line in which git names the cause. */
export function saidOf(result: ProgramResult): string {
  const lines = result.stderrTail.split("\n").map((line) => line.trim());
  const cause = lines.find((line) => /^(fatal|error):/.test(line)) ?? lines.findLast((line) => line !== "");
  const how = result.signal === null ? `exit ${result.code ?? "unknown"}` : result.signal;
  return (cause ?? how).slice(0, 500);
}
