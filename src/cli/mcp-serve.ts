import { createServer, listenAddress } from "../mcp/index.js";
import { mcpServe, networkOptions } from "../operations/index.js";
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
    onListening: async ({ url, tokenPath }) => {
      await context.stderr.say(`pyro: MCP is served at ${url}`);
      await context.stderr.say(
        `pyro: clients send "Authorization: Bearer TOKEN"; the token is in ${tokenPath}`,
      );
    },
  });
  return 0;
}
