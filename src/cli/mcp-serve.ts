import { createServer } from "../mcp/index.js";
import { mcpServe } from "../operations/index.js";
import type { CommandContext } from "./context.js";
import { interrupts } from "./interrupts.js";

/** `pyro mcp serve`: standard output carries JSON-RPC only; ends with standard input, or on a signal. */
export async function mcpServeCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  const { profile, environment } = mcpServe.input.parse(input);
  using interrupt = interrupts(context.host);
  await using server = createServer({ profile, environment, ...context.pyroOptions });
  await server.serveStdio({ signal: interrupt.signal });
  return 0;
}
