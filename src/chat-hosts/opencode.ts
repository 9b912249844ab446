import { dirname, join, resolve } from "node:path";
import { exists, findCheckout, isJsonObject, tokenOfFile } from "../kit/index.js";
import { ENTRY_NAME, type ChatHost, type Entry, type HostWorld, type RemoteServer } from "./chat-host.js";
import { configInvalid, readConfigFile, writeConfigFile } from "./config-file.js";
import {
  atHome,
  directoryOf,
  headerOf,
  homeOf,
  remoteOf,
  requireRemoteWritten,
  requireWritten,
  startOf,
  variablesOf,
} from "./entry.js";
import { plain, runHostCommand, saidOf } from "./host-command.js";
import { parseConfig } from "./json-config.js";
import { setValues, type Setting } from "./json-edit.js";
import { shellLine } from "./shell-line.js";

const PROGRAM = "opencode";

/**
 * OpenCode merges several files of JSON with comments. `opencode mcp add` lays the whole file out anew (measured with
 * 1.18.33), so text is inserted or replaced here. `only` restricts it to one file, for another than the user's own.
 */
export function opencode(only?: string): ChatHost {
  const host: ChatHost = {
    name: "opencode",
    title: "OpenCode",
    program: PROGRAM,
    installation: "npm install -g opencode-ai",
    configPath: async (world) => only ?? (await userFile(world)),
    read: async (world) => {
      const paths = only === undefined ? filesOf(world) : [only];
      let entry: Entry | undefined;
      for (const path of paths) entry = (await entryIn(path, world)) ?? entry;
      return entry;
    },
    add: async (world, command) => {
      const value = { type: "local", enabled: true, command };
      const path = only ?? (await userFile(world));
      await entryIn(path, world);
      await edit(path, [{ at: ["mcp", ENTRY_NAME], value }]);
      return await requireWritten(host, world, command, [PROGRAM, "mcp", "list"]);
    },
    mend: async (world, { path, start, enabled }, command) => {
      const settings: Setting[] = [{ at: ["mcp", ENTRY_NAME, "command"], value: command }];
      if (start.kind !== "program") settings.push({ at: ["mcp", ENTRY_NAME, "type"], value: "local" });
      if (!enabled) settings.push({ at: ["mcp", ENTRY_NAME, "enabled"], value: true });
      await edit(path, settings);
      return await requireWritten(host, world, command, [PROGRAM, "mcp", "list"]);
    },
    connectRemote: async (world, server, there) => {
      const path = there?.path ?? only ?? (await userFile(world));
      await entryIn(path, world);
      await edit(path, [{ at: ["mcp", ENTRY_NAME], value: remoteValue(server) }]);
      return await requireRemoteWritten(host, world, server, [PROGRAM, "mcp", "list"]);
    },
    check,
    remoteSnippet: async (world, server) => {
      const config = { mcp: { [ENTRY_NAME]: remoteValue(server) } };
      const path = only ?? (await userFile(world));
      return { command: undefined, config: JSON.stringify(config, null, 2), path };
    },
    snippet: async (world, command) => {
      const config = { mcp: { [ENTRY_NAME]: { type: "local", enabled: true, command } } };
      const path = only ?? (await userFile(world));
      return { command: undefined, config: JSON.stringify(config, null, 2), path };
    },
    removal: ({ path }) => `take "${ENTRY_NAME}" out of "mcp" in ${path}`,
  };
  return host;
}

/** OpenCode reads the token's file by itself, each time it starts; without `oauth: false` it would look for a login. */
function remoteValue({ url, tokenFile }: Omit<RemoteServer, "token">): object {
  const headers = { Authorization: `Bearer {file:${tokenFile}}` };
  return { type: "remote", enabled: true, oauth: false, url, headers };
}

/** What OpenCode sends for a header's value: of a file it names, or a variable. */
async function filledIn(value: unknown, { env }: HostWorld): Promise<string | undefined> {
  if (typeof value !== "string") return undefined;
  const named = value.replace(/\{env:([^}]+)\}/g, (_, name: string) => env[name] ?? "");
  const path = /\{file:([^}]+)\}/.exec(named)?.[1];
  if (path === undefined) return named;
  // Nothing but a token's file is read for it.
  const token = await tokenOfFile(path.replace(/^~\//, `${homeOf({ env, cwd: "/" })}/`)).catch(
    () => undefined,
  );
  return token === undefined ? undefined : named.replace(`{file:${path}}`, token);
}

const NAMES = ["opencode.json", "opencode.jsonc"];

/** Every file that OpenCode reads in this directory, the one that wins last (measured with 1.18.33). */
function filesOf(world: HostWorld): string[] {
  const user = userDirectory(world);
  const named = namedFile(world);
  const around = directoriesAround(world.cwd);
  return [
    ...["config.json", ...NAMES].map((name) => join(user, name)),
    ...(named === undefined ? [] : [named]),
    ...[...around].reverse().flatMap((directory) => NAMES.map((name) => join(directory, name))),
    ...around.flatMap((directory) => NAMES.map((name) => join(directory, ".opencode", name))),
  ];
}

function namedFile({ env, cwd }: HostWorld): string | undefined {
  const named = env["OPENCODE_CONFIG"];
  return named === undefined || named === "" ? undefined : resolve(cwd, named);
}

/** The working directory and those above it, up to the checkout's root. */
function directoriesAround(cwd: string): string[] {
  const root = findCheckout(cwd)?.root ?? cwd;
  const directories = [cwd];
  for (let at = cwd; at !== root && at !== dirname(at);) directories.push((at = dirname(at)));
  return directories;
}

/** Where OpenCode itself adds a server: the file that is there, of two the one without comments. */
async function userFile(world: HostWorld): Promise<string> {
  const [plainFile = "", withComments = ""] = NAMES.map((name) => join(userDirectory(world), name));
  return !(await exists(plainFile)) && (await exists(withComments)) ? withComments : plainFile;
}

function userDirectory(world: HostWorld): string {
  return join(directoryOf(world, "XDG_CONFIG_HOME", ".config"), "opencode");
}

async function entryIn(path: string, world: HostWorld): Promise<Entry | undefined> {
  const file = await readConfigFile(path);
  if (file === undefined) return undefined;
  const { mcp } = parseConfig(path, file.text, { comments: true });
  if (mcp !== undefined && !isJsonObject(mcp))
    throw configInvalid(path, { says: '"mcp" is no object', fix: `write {} for it in ${path}` });
  const raw = mcp?.[ENTRY_NAME];
  if (raw === undefined) return undefined;
  const isUsers = dirname(path) === userDirectory(world) || path === namedFile(world);
  const scope = isUsers ? "user" : "project";
  if (!isJsonObject(raw)) {
    const start = { kind: "malformed", says: "it is no object" } as const;
    return { path, scope, start, env: {}, enabled: true };
  }
  const { url, command, environment, enabled, headers } = raw;
  const [program, ...words] = Array.isArray(command) ? (command as unknown[]) : [command];
  const isList = Array.isArray(command) || command === undefined;
  const start =
    typeof url === "string"
      ? // Of a file that anybody may have written nothing is looked up.
        remoteOf(url, isUsers ? await filledIn(headerOf(headers, "authorization"), world) : undefined)
      : isList
        ? startOf(program, words)
        : ({ kind: "malformed", says: `its command is ${JSON.stringify(command)}, and no list` } as const);
  return { path, scope, start, env: variablesOf(environment), enabled: enabled !== false };
}

async function edit(path: string, settings: readonly Setting[]): Promise<void> {
  const before = await readConfigFile(path);
  await writeConfigFile(path, before, setValues(path, before?.text ?? "", settings));
}

/** `opencode mcp list` starts every server that OpenCode knows there; one alone cannot be asked for. */
async function check(world: HostWorld, { scope }: Entry): ReturnType<ChatHost["check"]> {
  const args = ["mcp", "list"];
  const by = shellLine([PROGRAM, ...args]);
  if (scope === "project")
    return { by, ok: true, says: "not asked: it starts all that the project's files name" };
  const result = await runHostCommand(atHome(world), { program: PROGRAM, args });
  const lines = plain(result.stdout).split("\n");
  const at = lines.findIndex((line) => new RegExp(`\\s${ENTRY_NAME}\\s+[a-z]`).test(line));
  const status = new RegExp(`\\s${ENTRY_NAME}\\s+(.+?)\\s*$`).exec(lines[at] ?? "")?.[1];
  if (status === undefined) return { by, ok: false, says: saidOf(result) };
  const reason = (lines[at + 1] ?? "").replace(/^[│|\s]+/, "").trim();
  const ok = status === "connected";
  return { by, ok, says: ok || reason === "" ? status : `${status}: ${reason}` };
}
