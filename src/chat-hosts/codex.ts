import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { PyroError } from "../protocol/index.js";
import {
  ENTRY_NAME,
  type ChatHost,
  type Entry,
  type EntryStart,
  type HostWorld,
  type RemoteServer,
  type StartCommand,
} from "./chat-host.js";
import { configInvalid, notWritable, readConfigFile, writeConfigFile } from "./config-file.js";
import {
  atHome,
  bearer,
  directoryOf,
  headerOf,
  remoteOf,
  requireRead,
  requireWritten,
  startOf,
  variablesOf,
} from "./entry.js";
import { requireHostCommand, runHostCommand, saidOf } from "./host-command.js";
import { shellLine, shownLine } from "./shell-line.js";
import { appendTable, isTomlTable, parseToml, setTableKeys, toToml, type TomlKeys } from "./toml-edit.js";

const PROGRAM = "codex";
const TABLE = ["mcp_servers", ENTRY_NAME];
/** npx fetches the package first; Codex gives a server 10 s by itself. */
const NPX_STARTUP_S = 60;

/**
 * Codex keeps its servers in a TOML file that people write by hand. `codex mcp add` lays out every table of servers
 * anew, and their comments and the line ends are gone (measured with 0.169.0): it is used where there is no file yet.
 * Else text is added or replaced here, and Codex is asked afterwards whether it reads what was meant.
 */
export const codex: ChatHost = {
  name: "codex",
  title: "Codex",
  program: PROGRAM,
  installation: "npm install -g @openai/codex",
  configPath: (world) => Promise.resolve(configFile(world)),
  read,
  add: async (world, command) => {
    const path = configFile(world);
    await read(world);
    if ((await readConfigFile(path)) === undefined) {
      const args = ["mcp", "add", ENTRY_NAME, "--", ...command];
      await requireHostCommand(atHome(world), { program: PROGRAM, args });
      await requireWritten(codex, world, command, [PROGRAM, ...args]);
      return await edit(world, { kind: "program", command }, (text) =>
        setTableKeys(path, text, TABLE, settingsFor(command)),
      );
    }
    const keys = { ...startKeys(command), ...settingsFor(command) };
    return await edit(world, { kind: "program", command }, (text) => appendTable(path, text, TABLE, keys));
  },
  mend: async (world, { path, enabled }, command) => {
    const keys = { ...startKeys(command), ...(enabled ? {} : { enabled: toToml(true) }) };
    return await edit(world, { kind: "program", command }, (text) => setTableKeys(path, text, TABLE, keys));
  },
  connectRemote: async (world, server, there) => {
    const path = there?.path ?? configFile(world);
    await read(world);
    await requireSecret(path);
    requireNoVariable(path, there, server);
    const keys = remoteKeys(server, `{ Authorization = ${toToml(bearer(server.token))} }`);
    const change = (text: string): string =>
      there === undefined ? appendTable(path, text, TABLE, keys) : setTableKeys(path, text, TABLE, keys);
    return await edit(
      world,
      { kind: "remote", url: server.url, authorization: bearer(server.token) },
      change,
    );
  },
  check: async (world, entry) => {
    const { by, shown } = await asked(world);
    const ok = isDeepStrictEqual(shown, { starts: startsOf(entry.start), enabled: true });
    const says = ok
      ? "it has the entry (it starts no server to show it)"
      : `it has ${shown === undefined ? "no entry" : shownLine(shown.starts)}${shown?.enabled === false ? ", switched off" : ""}`;
    return { by, ok, says };
  },
  snippet: (world, command) => {
    const path = configFile(world);
    const config = appendTable(path, "", TABLE, { ...startKeys(command), ...settingsFor(command) }).trimEnd();
    return Promise.resolve({
      command: shellLine([PROGRAM, "mcp", "add", ENTRY_NAME, "--", ...command]),
      config,
      path,
    });
  },
  remoteSnippet: (world, { url, tokenFile }) => {
    const path = configFile(world);
    const keys = { url: toToml(url), bearer_token_env_var: toToml(TOKEN_VARIABLE) };
    const add = [PROGRAM, "mcp", "add", ENTRY_NAME, "--url", url, "--bearer-token-env-var", TOKEN_VARIABLE];
    return Promise.resolve({
      command: shellLine(add),
      config: `# export ${TOKEN_VARIABLE}="$(cat ${shellLine([tokenFile])})"\n${appendTable(path, "", TABLE, keys).trimEnd()}`,
      path,
    });
  },
  removal: ({ path }) => `take [mcp_servers.${ENTRY_NAME}] out of ${path}`,
};

async function read(world: HostWorld): Promise<Entry | undefined> {
  const path = configFile(world);
  const file = await readConfigFile(path);
  if (file === undefined) return undefined;
  const { mcp_servers: servers } = parseToml(path, file.text);
  if (!isTomlTable(servers)) return undefined;
  const raw = servers[ENTRY_NAME];
  if (raw === undefined) return undefined;
  if (!isTomlTable(raw)) {
    const start = { kind: "malformed", says: "it is no table" } as const;
    return { path, scope: "user", start, env: {}, enabled: true };
  }
  const { url, command, args, env, enabled, http_headers: headers, bearer_token_env_var: variable } = raw;
  const token = typeof variable === "string" ? world.env[variable] : undefined;
  const start =
    typeof url === "string"
      ? remoteOf(url, headerOf(headers, "authorization") ?? (token === undefined ? undefined : bearer(token)))
      : startOf(command, args);
  return {
    ...{ path, scope: "user", start, env: variablesOf(env), enabled: enabled !== false },
    ...(typeof variable === "string" ? { tokenVariable: variable } : {}),
  };
}

/** The variable that hosts find a token in where their configuration is shown, and not written. */
const TOKEN_VARIABLE = "PYRO_TOKEN";

function remoteKeys({ url }: RemoteServer, headers: string): TomlKeys {
  return { url: toToml(url), http_headers: headers };
}

/**
 * The token will stand in it.
 * @throws {PyroError} HOST_CONFIG_NOT_WRITABLE where others can read it
 */
async function requireSecret(path: string): Promise<void> {
  const file = await readConfigFile(path);
  if (file === undefined || (file.mode & 0o077) === 0) return;
  throw notWritable(
    path,
    "can be read by others, and a token would stand in it",
    `run \`chmod 600 ${path}\``,
  );
}

/**
 * Codex refuses a server whose variable is not set, whatever headers it has, and a key is not taken out of a table here.
 * @throws {PyroError} HOST_CONFIG_NOT_WRITABLE
 */
function requireNoVariable(path: string, there: Entry | undefined, { tokenFile }: RemoteServer): void {
  if (there?.tokenVariable === undefined) return;
  throw notWritable(
    path,
    `has the entry find its token in ${there.tokenVariable}`,
    [
      `export it with the token: \`export ${there.tokenVariable}="$(cat ${tokenFile})"\``,
      `or take bearer_token_env_var out of ${path}, then try again`,
    ].join("; "),
  );
}

/** An entry as Codex shows it: its words, or its address. */
function startsOf(start: EntryStart): readonly string[] {
  return start.kind === "program" ? start.command : start.kind === "remote" ? [start.url] : [];
}

function startKeys([program, ...args]: StartCommand): TomlKeys {
  return { command: toToml(program), args: toToml(args) };
}

/**
 * Codex gives a server that is not required about a second: a later one has no tools in the first turn. An installed
 * pyro needs a quarter of that, and Codex refuses each session while one that is required does not start: so it is npx
 * alone that is waited for.
 */
function settingsFor([program]: StartCommand): TomlKeys {
  return program === "npx" ? { required: toToml(true), startup_timeout_sec: toToml(NPX_STARTUP_S) } : {};
}

/** Edits the file, and puts it back as it was where Codex does not read what was meant. */
async function edit(world: HostWorld, wanted: EntryStart, change: (text: string) => string): Promise<Entry> {
  const path = configFile(world);
  const before = await readConfigFile(path);
  const edited = change(before?.text ?? "");
  await writeConfigFile(path, before, edited);
  try {
    const { shown } = await asked(world);
    if (!isDeepStrictEqual(shown, { starts: startsOf(wanted), enabled: true })) {
      throw new PyroError("HOST_CONFIG_NOT_WRITABLE", `Codex does not read the entry from ${path}`, {
        hint: "look for another configuration of Codex that has a server pyro: `codex mcp get pyro`",
      });
    }
    return await requireRead(codex, world, wanted, [PROGRAM, "mcp", "get", ENTRY_NAME]);
  } catch (error) {
    const after = await readConfigFile(path);
    if (before !== undefined && after?.text === edited) await writeConfigFile(path, after, before.text);
    throw error;
  }
}

interface Asked {
  readonly by: string;
  readonly shown: { readonly starts: readonly string[]; readonly enabled: boolean } | undefined;
}

/**
 * The entry as Codex itself reads it; it starts no server for that.
 * @throws {PyroError} HOST_CONFIG_INVALID with what Codex says of its configuration
 */
async function asked(world: HostWorld): Promise<Asked> {
  const args = ["mcp", "get", ENTRY_NAME, "--json"];
  const result = await runHostCommand(atHome(world), { program: PROGRAM, args });
  const by = shellLine([PROGRAM, ...args]);
  if (result.code === 0) return { by, shown: shownIn(result.stdout) };
  const said = saidOf(result);
  if (/No MCP server named/.test(said)) return { by, shown: undefined };
  throw configInvalid(configFile(world), {
    says: `Codex does not take it: ${said}`,
    fix: "mend what Codex names",
  });
}

function shownIn(stdout: string): Asked["shown"] {
  try {
    const shown = JSON.parse(stdout) as {
      enabled?: unknown;
      transport?: { command?: unknown; args?: unknown; url?: unknown };
    };
    const { command, args, url } = shown.transport ?? {};
    const start = typeof url === "string" ? remoteOf(url, undefined) : startOf(command, args);
    if (start.kind === "malformed") return undefined;
    return { starts: startsOf(start), enabled: shown.enabled !== false };
  } catch {
    return undefined;
  }
}

function configFile(world: HostWorld): string {
  return join(directoryOf(world, "CODEX_HOME", ".codex"), "config.toml");
}
