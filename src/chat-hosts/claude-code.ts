import { existsSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { findCheckout, isJsonObject, type JsonObject } from "../kit/index.js";
import {
  ENTRY_NAME,
  type ChatHost,
  type Entry,
  type HostWorld,
  type RemoteServer,
  type StartCommand,
} from "./chat-host.js";
import { configInvalid, readConfigFile } from "./config-file.js";
import {
  atHome,
  bearer,
  directoryOf,
  headerOf,
  homeOf,
  remoteOf,
  requireRemoteWritten,
  requireWritten,
  startOf,
  variablesOf,
  withVariables,
} from "./entry.js";
import { plain, requireHostCommand, runHostCommand, saidOf } from "./host-command.js";
import { parseConfig } from "./json-config.js";
import { shellLine } from "./shell-line.js";

const PROGRAM = "claude";
/**
 * All projects of the user: one connects a host once, not once for each project, and the server finds the project
 * around the working directory by itself. Claude Code's own default, "local", would be this directory's alone.
 */
const SCOPE = "user";

/** Claude Code keeps its servers in one JSON file that it rewrites all the time: only its own command writes there. */
export const claudeCode: ChatHost = {
  name: "claude-code",
  title: "Claude Code",
  program: PROGRAM,
  installation: "npm install -g @anthropic-ai/claude-code",
  configPath: (world) => Promise.resolve(userFile(world)),
  read: async (world) => (await found(world))?.entry,
  add: async (world, command) => {
    await found(world);
    const args = ["mcp", "add", "--scope", SCOPE, ENTRY_NAME, "--", ...command];
    await requireHostCommand(atHome(world), { program: PROGRAM, args });
    return await requireWritten(claudeCode, world, command, [PROGRAM, ...args]);
  },
  mend,
  connectRemote,
  check: async (world, { scope }) => {
    const args = ["mcp", "get", ENTRY_NAME];
    // In a project it starts what the user approved there.
    const there = scope === SCOPE ? atHome(world) : world;
    const result = await runHostCommand(there, { program: PROGRAM, args });
    const said = plain(result.stdout);
    const status = /^\s*Status:\s*(.+)$/m.exec(said)?.[1];
    const issue = /^\s*Issue:\s*(.+)$/m.exec(said)?.[1];
    const says = status === undefined ? saidOf(result) : issue === undefined ? status : `${status}: ${issue}`;
    const ok = result.code === 0 && status !== undefined && /(^|[^A-Za-z])Connected/.test(status);
    return { by: shellLine([PROGRAM, ...args]), ok, says };
  },
  snippet: (world, command) => {
    const [program, ...args] = command;
    const config = { mcpServers: { [ENTRY_NAME]: { type: "stdio", command: program, args, env: {} } } };
    return Promise.resolve({
      command: shellLine([PROGRAM, "mcp", "add", "--scope", SCOPE, ENTRY_NAME, "--", ...command]),
      config: JSON.stringify(config, null, 2),
      path: userFile(world),
    });
  },
  remoteSnippet: (world, { url, tokenFile }) => {
    const headers = { Authorization: "Bearer ${PYRO_TOKEN}" };
    const config = { mcpServers: { [ENTRY_NAME]: { type: "http", url, headers } } };
    const add = [PROGRAM, "mcp", "add", "--scope", SCOPE, "--transport", "http", ENTRY_NAME, url, "--header"];
    return Promise.resolve({
      command: `${shellLine(add)} "Authorization: Bearer $(cat ${shellLine([tokenFile])})"`,
      config: JSON.stringify(config, null, 2),
      path: userFile(world),
    });
  },
  removal: ({ scope }) => `\`claude mcp remove --scope ${scope} ${ENTRY_NAME}\``,
};

/** An entry, and all that stands in it. */
interface Found {
  readonly entry: Entry;
  readonly raw: JsonObject;
}

/** Its places in the order in which they win (measured with 2.1.329): this project's own, its .mcp.json, the user's. */
async function found(world: HostWorld): Promise<Found | undefined> {
  const root = projectOf(world.cwd);
  const path = userFile(world);
  const user = await serversIn(path);
  const projects = inner(path, user.config, "projects");
  const local = inner(path, inner(path, projects, root), "mcpServers");
  const shared = join(root, ".mcp.json");
  return (
    entryIn(world, local, path, "local") ??
    entryIn(world, (await serversIn(shared)).servers, shared, "project") ??
    entryIn(world, user.servers, path, "user")
  );
}

async function serversIn(path: string): Promise<{ config: JsonObject; servers: JsonObject }> {
  const file = await readConfigFile(path);
  // Claude Code takes an empty file for a damaged one.
  const config = file === undefined ? {} : parseConfig(path, file.text, { comments: false });
  return { config, servers: inner(path, config, "mcpServers") };
}

/** Claude Code drops in silence what is of the wrong type there, so nothing may be added beside it. */
function inner(path: string, object: JsonObject, key: string): JsonObject {
  const value = object[key];
  if (value === undefined) return {};
  if (isJsonObject(value)) return value;
  throw configInvalid(path, {
    says: `${JSON.stringify(key)} is no object`,
    fix: `write {} for it in ${path}`,
  });
}

function entryIn(world: HostWorld, servers: JsonObject, path: string, scope: string): Found | undefined {
  const raw = servers[ENTRY_NAME];
  if (raw === undefined) return undefined;
  if (!isJsonObject(raw)) {
    const start = { kind: "malformed", says: "it is no object" } as const;
    return { raw: {}, entry: { path, scope, start, env: {}, enabled: true } };
  }
  const { url, command, args, env, headers } = raw;
  const start =
    typeof url === "string"
      ? remoteOf(url, withVariables(headerOf(headers, "authorization"), world))
      : startOf(command, args);
  return { raw, entry: { path, scope, start, env: variablesOf(env), enabled: true } };
}

/** There is no command that changes an entry: it is taken away and added again, with all that else stood in it. */
async function mend(world: HostWorld, { scope }: Entry, command: StartCommand): Promise<Entry> {
  const raw = (await found(world))?.raw ?? {};
  const [program, ...args] = command;
  const wanted = { ...raw, type: "stdio", command: program, args };
  await replace(world, scope, raw, wanted);
  return await requireWritten(claudeCode, world, command, [PROGRAM, "mcp", "add-json", ENTRY_NAME]);
}

async function connectRemote(
  world: HostWorld,
  server: RemoteServer,
  there: Entry | undefined,
): Promise<Entry> {
  const raw = (await found(world))?.raw ?? {};
  const wanted = { type: "http", url: server.url, headers: { Authorization: bearer(server.token) } };
  if (there === undefined) await addJson(atHome(world), SCOPE, wanted);
  else await replace(world, there.scope, raw, wanted);
  return await requireRemoteWritten(claudeCode, world, server, [PROGRAM, "mcp", "add-json", ENTRY_NAME]);
}

/** On standard input: an entry may hold secrets, and a command line is for everyone to see. */
async function addJson(world: HostWorld, scope: string, entry: JsonObject): Promise<void> {
  const args = ["mcp", "add-json", "--scope", scope, ENTRY_NAME, "-"];
  await requireHostCommand(world, { program: PROGRAM, args, input: JSON.stringify(entry) });
}

/** Puts an entry in the place of another, which comes back where that fails. */
async function replace(
  world: HostWorld,
  scope: string,
  before: JsonObject,
  wanted: JsonObject,
): Promise<void> {
  await requireHostCommand(world, {
    program: PROGRAM,
    args: ["mcp", "remove", "--scope", scope, ENTRY_NAME],
  });
  try {
    await addJson(world, scope, wanted);
  } catch (error) {
    await addJson(world, scope, before).catch(() => undefined);
    throw error;
  }
}

/** The file of the user's servers; the older place wins where it exists, as in Claude Code itself. */
function userFile(world: HostWorld): string {
  const older = join(directoryOf(world, "CLAUDE_CONFIG_DIR", ".claude"), ".config.json");
  if (existsSync(older)) return older;
  return join(world.env["CLAUDE_CONFIG_DIR"] ?? homeOf(world), ".claude.json");
}

/** Under which name it keeps what is local: the main checkout, else the directory itself. */
function projectOf(cwd: string): string {
  const root = findCheckout(cwd)?.root;
  if (root === undefined) return realpathSync(cwd);
  try {
    // A worktree belongs to the checkout that has its repository.
    const main = /^gitdir: (.+)\/\.git\/worktrees\/[^/]+$/m.exec(
      readFileSync(join(root, ".git"), "utf8"),
    )?.[1];
    return main ?? root;
  } catch {
    return root;
  }
}
