import * as z from "zod";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { field } from "../fields.js";
import { declare, PROFILES } from "../operation.js";

/** `pyro mcp serve`: the MCP room serves. */
export const mcpServe = declare({
  name: "mcp_serve",
  command: ["mcp", "serve"],
  summary: "Serve the tools over MCP on standard input and output",
  description:
    "A chat host starts this by itself. Profiles:\n" +
    "  vm-run   one tool, vm_run: one command in one fresh VM\n" +
    "Nothing is started before the first call; the VMs belong to the daemon, not to this process.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    profile: z.enum(PROFILES).default("vm-run").describe("The set of tools"),
    environment: field.environment().default(DEFAULT_ENVIRONMENT).describe("Taken when a call names none"),
  }),
  positionals: [],
  examples: [
    { command: "claude mcp add pyro -- pyro mcp serve --profile vm-run", says: "connects Claude Code" },
    { command: "codex mcp add pyro -- pyro mcp serve --profile vm-run", says: "connects Codex" },
  ],
});
