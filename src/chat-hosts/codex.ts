import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { PyroError } from "../protocol/index.js";
import { ENTRY_NAME, type ChatHost, type Entry, type HostWorld, type StartCommand } from "./chat-host.js";
import { configInvalid, readConfigFile, writeConfigFile } from "./config-file.js";
import { atHome, directoryOf, requireWritten, startOf, variablesOf } from "./entry.js";
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
      return await edit(world, command, (text) => setTableKeys(path, text, TABLE, settingsFor(command)));
    }
    const keys = { ...startKeys(command), ...settingsFor(command) };
    return await edit(world, command, (text) => appendTable(path, text, TABLE, keys));
  },
  mend: async (world, { path, enabled }, command) => {
    const keys = { ...startKeys(command), ...(enabled ? {} : { enabled: toToml(true) }) };
    return await edit(world, command, (text) => setTableKeys(path, text, TABLE, keys));
  },
  check: async (world, entry) => {
    const { by, shown } = await asked(world);
    const wanted = entry.start.kind === "program" ? entry.start.command : [];
    const ok = isDeepStrictEqual(shown, { command: wanted, enabled: true });
    const says = ok
      ? "it has the entry (it starts no server to show it)"
      : `it has ${shown === undefined ? "no entry" : shownLine(shown.command)}${shown?.enabled === false ? ", switched off" : ""}`;
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
  const { url, command, args, env, enabled } = raw;
  const start = typeof url === "string" ? ({ kind: "remote", url } as const) : startOf(command, args);
  return { path, scope: "user", start, env: variablesOf(env), enabled: enabled !== false };
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
async function edit(
  world: HostWorld,
  command: StartCommand,
  change: (text: string) => string,
): Promise<Entry> {
  const path = configFile(world);
  const before = await readConfigFile(path);
  const edited = change(before?.text ?? "");
  await writeConfigFile(path, before, edited);
  try {
    const { shown } = await asked(world);
    if (!isDeepStrictEqual(shown, { command, enabled: true })) {
      throw new PyroError("HOST_CONFIG_NOT_WRITABLE", `Codex does not read the entry from ${path}`, {
        hint: "look for another configuration of Codex that has a server pyro: `codex mcp get pyro`",
      });
    }
    return await requireWritten(codex, world, command, [PROGRAM, "mcp", "get", ENTRY_NAME]);
  } catch (error) {
    const after = await readConfigFile(path);
    if (before !== undefined && after?.text === edited) await writeConfigFile(path, after, before.text);
    throw error;
  }
}

interface Asked {
  readonly by: string;
  readonly shown: { readonly command: readonly string[]; readonly enabled: boolean } | undefined;
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
      transport?: { command?: unknown; args?: unknown };
    };
    const start = startOf(shown.transport?.command, shown.transport?.args);
    return start.kind === "program"
      ? { command: start.command, enabled: shown.enabled !== false }
      : undefined;
  } catch {
    return undefined;
  }
}

function configFile(world: HostWorld): string {
  return join(directoryOf(world, "CODEX_HOME", ".codex"), "config.toml");
}
