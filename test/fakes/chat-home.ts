import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import type { Entry, HostWorld, StartCommand } from "../../src/chat-hosts/index.js";

/** A home of its own with chat hosts that are programs of the test's. */
export interface ChatHome extends AsyncDisposable {
  readonly path: string;
  readonly bin: string;
  readonly world: HostWorld;
  /** A path below the home. */
  readonly at: (...names: string[]) => string;
  readonly write: (name: string, content: string | Uint8Array, mode?: number) => Promise<string>;
  readonly read: (name: string) => Promise<string>;
  /** Puts a program on PATH: a script for Node, whose arguments are `args`. */
  readonly program: (name: string, script: string) => Promise<string>;
}

export async function chatHome(options: { readonly commandMs?: number } = {}): Promise<ChatHome> {
  const path = await mkdtemp(join(tmpdir(), "pyro-chat-"));
  const [bin, home] = [join(path, "bin"), join(path, "home")];
  await Promise.all([bin, home, join(path, "cwd")].map((directory) => mkdir(directory)));
  const at = (...names: string[]): string => join(home, ...names);
  const write: ChatHome["write"] = async (name, content, mode = 0o644) => {
    await mkdir(dirname(at(name)), { recursive: true });
    await writeFile(at(name), content);
    await chmod(at(name), mode);
    return at(name);
  };
  return {
    ...{ path, bin, at, write },
    world: {
      env: { HOME: home, PATH: `${bin}:/usr/bin:/bin` },
      cwd: join(path, "cwd"),
      commandMs: options.commandMs ?? 15_000,
    },
    read: (name) => readFile(at(name), "utf8"),
    program: async (name, script) => {
      const file = join(bin, name);
      const head = `#!${process.execPath}\nconst args = process.argv.slice(2); const fs = require("node:fs"); const home = process.env.HOME;\n`;
      await writeFile(file, head + script, { mode: 0o755 });
      return file;
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** Claude Code's commands on its file, as the real one has them. */
export const FAKE_CLAUDE = `
const path = home + "/.claude.json";
const read = () => { try { return JSON.parse(fs.readFileSync(path, "utf8")); } catch { return {}; } };
const save = (config) => fs.writeFileSync(path, JSON.stringify(config, null, 2));
const config = read();
const servers = (config.mcpServers ??= {});
const [, verb] = args;
const fail = (text) => { console.error(text); process.exit(1); };
if (verb === "add") {
  const name = args[4], [command, ...rest] = args.slice(args.indexOf("--") + 1);
  if (servers[name]) fail("MCP server " + name + " already exists in user config");
  servers[name] = { type: "stdio", command, args: rest, env: {} };
  save(config);
} else if (verb === "remove") {
  if (!servers[args[4]]) fail("No MCP server named");
  delete servers[args[4]];
  save(config);
} else if (verb === "add-json") {
  servers[args[4]] = JSON.parse(fs.readFileSync(0, "utf8"));
  save(config);
} else if (verb === "get") {
  console.log("pyro:\\n  Scope: User config\\n  Status: \\u2714 Connected\\n  Type: stdio");
}
`;

/** Codex's commands on its file. */
const FAKE_CODEX = `
const { parse } = require(${JSON.stringify(createRequire(import.meta.url).resolve("smol-toml"))});
const path = (process.env.CODEX_HOME ?? home + "/.codex") + "/config.toml";
const [, verb, name] = args;
if (verb === "add") {
  const [command, ...rest] = args.slice(args.indexOf("--") + 1);
  fs.mkdirSync(home + "/.codex", { recursive: true });
  fs.writeFileSync(path, "[mcp_servers." + name + "]\\ncommand = " + JSON.stringify(command) + "\\nargs = " + JSON.stringify(rest).replaceAll(",", ", ") + "\\n");
} else {
  const entry = parse(fs.readFileSync(path, "utf8")).mcp_servers?.[name];
  if (!entry) { console.error("Error: No MCP server named '" + name + "' found."); process.exit(1); }
  if (typeof entry.url === "string") {
    console.log(JSON.stringify({ name, enabled: entry.enabled !== false, transport: { type: "streamable_http", url: entry.url } }));
    process.exit(0);
  }
  if (typeof entry.command !== "string") { console.error("Error: failed to load bootstrap configuration\\n\\nCaused by:\\n    invalid type\\n\\nStack backtrace:\\n 0: <unknown>"); process.exit(1); }
  console.log(JSON.stringify({ name, enabled: entry.enabled !== false, transport: { type: "stdio", command: entry.command, args: entry.args ?? [] } }));
}
`;

/** OpenCode's list; every server is connected. */
const FAKE_OPENCODE = `
console.log("\\u250c  MCP Servers\\n\\u2502\\n\\u25cf  \\u2713 pyro \\u001b[90mconnected\\n\\u2502      \\u001b[90mpyro mcp serve\\n\\u2514  1 server(s)");
`;

/** A server that lists two tools; it says its project as pyro does. */
export function fakeServer(name = "pyro"): string {
  return `
process.stderr.write("pyro: project source: /x (Git checkout, branch main)\\n");
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method } = JSON.parse(line);
  const say = (result) => console.log(JSON.stringify({ jsonrpc: "2.0", id, result }));
  if (method === "initialize") say({ protocolVersion: "2025-06-18", capabilities: {}, serverInfo: { name: ${JSON.stringify(name)}, version: "1" } });
  if (method === "tools/list") say({ tools: [{ name: "a" }, { name: "b" }] });
});
`;
}

/** A home in which all hosts work as the real ones do. */
export async function homeWithHosts(): Promise<ChatHome> {
  const home = await chatHome();
  await home.program("claude", FAKE_CLAUDE);
  await home.program("codex", FAKE_CODEX);
  await home.program("opencode", FAKE_OPENCODE);
  return home;
}

/** An entry as hosts are asked about it. */
export function entryOf(command: StartCommand): Entry {
  return { path: "/x", scope: "user", start: { kind: "program", command }, env: {}, enabled: true };
}
