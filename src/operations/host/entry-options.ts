import { isAbsolute, resolve } from "node:path";
import * as z from "zod";
import type { StartCommand } from "../../chat-hosts/index.js";
import { launcherOf, NPX_START, type HostWorld } from "../../chat-hosts/index.js";
import { directoriesFor, findCheckout } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { field } from "../fields.js";
import { mcpServe } from "../mcp/serve.js";
import type { OperationContext } from "../operation.js";
import { serveWords, type ServeOptions } from "./serve-words.js";

const { profile, mode, project_path, repo_url, repo_ref, no_project_source } = mcpServe.input.shape;

/** What the entry of a host may say, the same for each command that writes or shows one. */
export const entryOptions = {
  profile,
  mode,
  environment: field
    .environment()
    .optional()
    .describe("Taken when a call of the host names none (default debian:12)"),
  project_path,
  repo_url,
  repo_ref,
  no_project_source,
  npx: z
    .boolean()
    .default(false)
    .describe("The entry fetches pyro by npx instead of starting the installed one"),
  url: z
    .string()
    .min(1)
    .max(2048)
    .optional()
    .describe("Come to this server instead, which runs already: `pyro mcp serve --http PORT`"),
  token_file: z
    .string()
    .min(1)
    .max(4096)
    .optional()
    .describe("With --url: file with the server's token (default: that of your own servers)"),
};

const SERVER_OPTIONS = [
  ...([
    "profile",
    "mode",
    "environment",
    "project_path",
    "repo_url",
    "repo_ref",
    "no_project_source",
  ] as const),
  "npx" as const,
];

/** The options that the user gave. */
type Given = z.output<z.ZodObject<typeof entryOptions>>;

/** Options that exclude each other: the first field that is one too many, and why. */
export function contradiction(
  given: ServeOptions,
): { readonly field: string; readonly says: string } | undefined {
  const { profile, mode, project_path, repo_url, repo_ref, no_project_source = false } = given;
  if (profile !== undefined && mode !== undefined) return { field: "mode", says: "excludes --profile" };
  if (project_path !== undefined && repo_url !== undefined)
    return { field: "repo_url", says: "excludes --project-path" };
  if (no_project_source && (project_path ?? repo_url) !== undefined)
    return { field: "no_project_source", says: "excludes --project-path and --repo-url" };
  if (repo_ref !== undefined && repo_url === undefined)
    return { field: "repo_ref", says: "needs --repo-url" };
  return undefined;
}

/** Refuses contradictions where the input is read, so that they are wrong usage. */
export function refuseContradictions(context: z.core.ParsePayload<Given>): void {
  const found = urlContradiction(context.value) ?? contradiction(context.value);
  if (found === undefined) return;
  const { field: name, says } = found;
  context.issues.push({ code: "custom", message: says, path: [name], input: context.value });
}

/** What a server that runs already was started with is not for the entry to say. */
function urlContradiction(given: Given): ReturnType<typeof contradiction> {
  const { url, token_file: tokenFile, ...rest } = given;
  if (url === undefined)
    return tokenFile === undefined ? undefined : { field: "token_file", says: "needs --url" };
  const isGiven = (name: keyof typeof rest): boolean => rest[name] !== undefined && rest[name] !== false;
  const [first] = SERVER_OPTIONS.filter(isGiven);
  return first === undefined
    ? undefined
    : { field: first, says: "is an option of the server: it goes without --url" };
}

/**
 * The options of the entry: paths absolute, since the host starts it anywhere.
 * @throws {PyroError} PROJECT_NOT_FOUND
 */
export async function toServeOptions(given: Given, { hostPath }: OperationContext): Promise<ServeOptions> {
  const { npx: _, url: __, token_file: ___, project_path: path, repo_url: url, ...rest } = given;
  const project = path === undefined ? undefined : await hostPath(path);
  if (project !== undefined && findCheckout(project) === undefined) {
    throw new PyroError("PROJECT_NOT_FOUND", `${JSON.stringify(path)} is in no Git checkout`, {
      hint: "name a checkout with --project-path, a repository with --repo-url, or begin empty with --no-project-source",
    });
  }
  const isPath = url !== undefined && /^\.{0,2}\//.test(url) && !isAbsolute(url);
  return {
    ...rest,
    ...(project === undefined ? {} : { project_path: project }),
    ...(url === undefined ? {} : { repo_url: isPath ? resolve(url) : url }),
  };
}

/** The whole command of an entry. */
export async function entryCommand(
  world: HostWorld,
  npx: boolean,
  options: ServeOptions,
  { pyro }: Pick<OperationContext, "pyro">,
): Promise<StartCommand> {
  const start = npx ? NPX_START : await launcherOf(world);
  const stateDir = pyro.stateDir === directoriesFor().state ? undefined : pyro.stateDir;
  return [...start, ...serveWords(options, stateDir)];
}

/** The surroundings of this process. */
export function surroundings(signal: AbortSignal | undefined): HostWorld {
  const env = Object.fromEntries(
    Object.entries(process.env).filter((pair): pair is [string, string] => pair[1] !== undefined),
  );
  // A shell inside of a host says so to its children, and a host that hears it may refuse to start.
  delete env["CLAUDECODE"];
  return { env, cwd: process.cwd(), signal };
}

/** How the options stand on a command line of pyro: for hints. */
export function optionWords(options: ServeOptions): readonly string[] {
  return serveWords(options, undefined).slice(2);
}
