import { createServer, listenAddress, type HttpPlace } from "../mcp/index.js";
import { mcpServe } from "../operations/mcp/serve.js";
import { networkOptions } from "../operations/workspace/network-fields.js";
import type { CommandContext } from "./context.js";
import { UsageError } from "./failure.js";
import { interrupts } from "./interrupts.js";
import { readHostFile } from "./operation.js";

/** `pyro mcp serve`: standard output carries JSON-RPC only; ends with standard input, or on a signal. With --http on a signal. */
export async function mcpServeCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const given = mcpServe.input.parse(input);
  if (given.profile !== undefined && given.mode !== undefined)
    throw new UsageError("--profile and --mode exclude each other", "give one of them");
  const alone = given.http_token_file === undefined ? "--http-allow-host" : "--http-token-file";
  if (given.http === undefined && (given.http_token_file !== undefined || given.http_allow_hosts.length > 0))
    throw new UsageError(`${alone} goes with --http`, "add `--http 8765`, or leave it out");
  const address = given.http === undefined ? undefined : listenAddress(given.http);
  using interrupt = interrupts(context.host);
  await using server = createServer({
    ...context.pyroOptions,
    ...{ profile: given.profile, mode: given.mode, environment: given.environment },
    ...{ projectPath: given.project_path, repoUrl: given.repo_url, repoRef: given.repo_ref },
    ...{ noProjectSource: given.no_project_source, hostRoots: given.host_roots },
    seedInclude: given.seed_include,
    network: await networkOptions(given, { readHostFile }),
  });
  if (given.profile !== "vm-run") await context.stderr.say(`pyro: ${server.projectLine}`);
  if (address === undefined) {
    await server.serveStdio({ signal: interrupt.signal });
    return 0;
  }
  await server.serveHttp(address, {
    signal: interrupt.signal,
    tokenFile: given.http_token_file,
    allowedHosts: given.http_allow_hosts,
    onListening: async (place) => {
      for (const line of placeLines(place)) await context.stderr.say(`pyro: ${line}`);
    },
  });
  return 0;
}

/** Where the server is, and what to type on the client's side. The token itself is in no log. */
function placeLines({ url, tokenPath, isOpen }: HttpPlace): string[] {
  const open =
    "warning: other machines reach this server, and HTTP encrypts nothing: whoever reads along has the token, commands " +
    "machines and reads the project; put a proxy with TLS or an SSH tunnel in front";
  const file = /^[\w./-]+$/.test(tokenPath) ? tokenPath : `'${tokenPath.replaceAll("'", `'\\''`)}'`;
  const header = `Authorization: Bearer $(cat ${file})`;
  return [
    ...(isOpen ? [open] : []),
    `MCP is served at ${url}`,
    `clients send "Authorization: Bearer TOKEN"; the token is in ${tokenPath}`,
    `such as: claude mcp add --transport http pyro ${url} --header "${header}"`,
  ];
}
