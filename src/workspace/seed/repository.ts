import { join } from "node:path";
import { withoutCredentials } from "../../kit/index.js";
import { LIMITS, PyroError } from "../../protocol/index.js";
import { git, saidOf, type GitOptions } from "./git.js";
import type { ProgramResult } from "./host-program.js";
import { shown, textOf } from "./path.js";

/** What reaches a repository: the user's own proxy and keys, and nothing that asks. */
const PASSED_ON = [
  "http_proxy",
  "https_proxy",
  "no_proxy",
  "HTTPS_PROXY",
  "NO_PROXY",
  "ALL_PROXY",
  "SSH_AUTH_SOCK",
];

export interface FetchRequest {
  readonly url: string;
  readonly ref?: string;
  /** A directory that does not exist yet. */
  readonly directory: string;
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
}

/**
 * Fetches the newest commit of a repository, or of a ref of it, and checks it out; no submodules, no LFS contents.
 * @throws {PyroError} REPOSITORY_UNREACHABLE, HOST_TOOL_NOT_FOUND
 */
export async function fetchRepository(request: FetchRequest): Promise<void> {
  const { url, ref, directory } = request;
  const timeoutMs = request.timeoutMs ?? LIMITS.repositoryTimeoutMs;
  // Whatever begins with a dash would be an option.
  if (url === "" || url.startsWith("-") || ref?.startsWith("-") === true || ref === "") {
    throw unreachable(request, "the URL or the ref is none");
  }
  const deadline = AbortSignal.timeout(timeoutMs);
  const options: GitOptions = {
    cwd: "/",
    signal: AbortSignal.any([request.signal, deadline]),
    env: fetchEnvironment(),
  };
  const isCommit = ref !== undefined && /^([0-9a-f]{40}|[0-9a-f]{64})$/i.test(ref);
  try {
    for (const args of isCommit ? commitSteps(url, ref, directory) : cloneSteps(url, ref, directory)) {
      const result = await git(args, options);
      if (result.code !== 0) throw unreachable(request, saidOf(result), result);
    }
  } catch (error) {
    request.signal.throwIfAborted();
    if (deadline.aborted) throw unreachable(request, `no answer within ${Math.ceil(timeoutMs / 1000)} s`);
    throw error;
  }
}

const SHALLOW = ["--depth", "1", "--no-tags", "--no-recurse-submodules"];

function cloneSteps(url: string, ref: string | undefined, directory: string): string[][] {
  const branch = ref === undefined ? [] : ["--branch", ref];
  // The template would bring hooks.
  return [
    [
      "clone",
      "-q",
      "--template=",
      "--single-branch",
      ...SHALLOW.slice(0, 3),
      ...branch,
      "--",
      url,
      directory,
    ],
  ];
}

function commitSteps(url: string, commit: string, directory: string): string[][] {
  const format = commit.length === 64 ? ["--object-format=sha256"] : [];
  return [
    ["init", "-q", "--template=", ...format, "--", directory],
    ["-C", directory, "fetch", "-q", ...SHALLOW, "--", url, commit],
    ["-C", directory, "checkout", "-q", "--detach", "FETCH_HEAD"],
  ];
}

function fetchEnvironment(): Record<string, string> {
  const env: Record<string, string> = {
    GIT_ALLOW_PROTOCOL: "https:http:ssh:git:file",
    GIT_SSH_COMMAND: "ssh -o BatchMode=yes",
    GIT_LFS_SKIP_SMUDGE: "1",
  };
  for (const name of PASSED_ON) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

/** What the URL hides, wherever git repeats it. */
function redacted(text: string, url: string): string {
  const [, hidden = ""] = /^[a-z][a-z0-9+.-]*:\/\/([^/]*)@/i.exec(url) ?? [];
  const query = /\?(.*)$/s.exec(url)?.[1] ?? "";
  let clean = text.replaceAll(url, withoutCredentials(url));
  for (const secret of [hidden, ...hidden.split(":"), query]) {
    // "git" is everybody's name where keys are used, and a word of every message.
    if (secret !== "" && secret !== "git") clean = clean.replaceAll(secret, "[REDACTED]");
  }
  return clean;
}

function unreachable(request: FetchRequest, why: string, result?: ProgramResult): PyroError {
  const url = withoutCredentials(request.url);
  const at = request.ref === undefined ? "" : ` at ${shown(textOf(request.ref))}`;
  const said = redacted(result?.stderrTail.trim().slice(-2_000) ?? "", request.url);
  return new PyroError(
    "REPOSITORY_UNREACHABLE",
    `cannot fetch ${shown(textOf(url))}${at}: ${redacted(why, request.url)}`,
    {
      hint: `clone it yourself, \`git clone ${url} DIR\`, then \`--project-path DIR\``,
      details: { url, ref: request.ref ?? null, git: said },
      retryable: true,
    },
  );
}

/** The directory of a checkout in a scratch directory. */
export function fetchedInto(scratch: string): string {
  return join(scratch, "repository");
}
