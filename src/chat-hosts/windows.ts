import { join } from "node:path";
import { PyroError } from "../protocol/index.js";
import {
  ENTRY_NAME,
  type HostWorld,
  type RemoteServer,
  type Snippet,
  type StartCommand,
} from "./chat-host.js";
import { directoryOf, homeOf } from "./entry.js";
import { findPyro } from "./launcher.js";

/** Chat hosts without a command of their own: what they read is shown, and never written. */
export type WindowHost = "claude-desktop" | "cursor" | "generic";

/** What has to stand in the file of such a host. */
export async function byWindow(host: WindowHost, world: HostWorld, command: StartCommand): Promise<Snippet> {
  const [program, ...args] = host === "generic" ? command : await fromOutside(world, command);
  return snippet(host, world, { command: program, args });
}

/**
 * The same for a server over HTTP; the token is in the variable PYRO_TOKEN.
 * @throws {PyroError} INVALID_ARGUMENT for Claude Desktop, whose file starts programs only
 */
export function remoteByWindow(
  host: WindowHost,
  world: HostWorld,
  { url }: Omit<RemoteServer, "token">,
): Snippet {
  if (host === "claude-desktop") {
    throw new PyroError(
      "INVALID_ARGUMENT",
      "Claude Desktop's configuration names programs only, and no addresses",
      {
        hint: "leave --url out; for pyro of another machine let the entry start `ssh ME@HOST pyro mcp serve`",
      },
    );
  }
  // Cursor has its own way to name a variable.
  const variable = host === "cursor" ? "${env:PYRO_TOKEN}" : "${PYRO_TOKEN}";
  const headers = { Authorization: `Bearer ${variable}` };
  return snippet(host, world, host === "cursor" ? { url, headers } : { type: "http", url, headers });
}

function snippet(host: WindowHost, world: HostWorld, entry: object): Snippet {
  const config = JSON.stringify({ mcpServers: { [ENTRY_NAME]: entry } }, null, 2);
  return { command: undefined, config, path: pathOf(host, world) };
}

function pathOf(host: WindowHost, world: HostWorld): string {
  if (host === "generic") return "";
  if (host === "cursor") return join(homeOf(world), ".cursor", "mcp.json");
  // On Windows it is %APPDATA%\Claude\claude_desktop_config.json; the user's profile is not known here.
  if (world.env["WSL_DISTRO_NAME"] !== undefined) return "";
  return join(directoryOf(world, "XDG_CONFIG_HOME", ".config"), "Claude", "claude_desktop_config.json");
}

/** A window is not started from a shell: it knows no PATH of one, and on Windows it is outside of this Linux. */
async function fromOutside({ env }: HostWorld, [program, ...args]: StartCommand): Promise<StartCommand> {
  const path = program === "pyro" ? ((await findPyro(env)) ?? program) : program;
  const distribution = env["WSL_DISTRO_NAME"];
  if (distribution === undefined) return [path, ...args];
  return ["wsl.exe", "-d", distribution, "--", path, ...args];
}
