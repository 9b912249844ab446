import * as z from "zod";
import { isHostName } from "../../kit/index.js";
import { DEFAULT_ENVIRONMENT } from "../curated.js";
import { field } from "../fields.js";
import { networkFields } from "../workspace/network-fields.js";
import { declare, MODES, PROFILES } from "../operation.js";

const hostPath = (): z.ZodString => z.string().min(1).max(4096);

/** `pyro mcp serve`: the MCP room serves. */
export const mcpServe = declare({
  name: "mcp_serve",
  command: ["mcp", "serve"],
  summary: "Serve the tools over MCP on standard input and output",
  description:
    "A chat host starts this by itself. Profiles:\n" +
    "  vm-run          one tool, vm_run: one command in one fresh VM\n" +
    "  workspace-core  workspaces: explore, edit, test, diff, reset, export\n" +
    "  workspace-full  that, and shells, services, secrets, snapshots, forks, disks, single VMs: only where it is needed,\n" +
    "                  for each tool costs the model context\n" +
    "Modes, instead of a profile:\n" +
    "  repro-fix       reproduce, patch, rerun, export; also in parallel\n" +
    "  inspect         look at untrusted code, offline: no edits, no pushes\n" +
    "  cold-start      an unfamiliar repository: core and services\n" +
    "  review-eval     a checklist: core, shells and snapshots\n" +
    "A workspace begins with the Git checkout around the working directory (tracked and unignored files), unless " +
    "another source is named here or in the call. The tools reach the host only below --host-root: by default the " +
    "project, else the working directory; never / or the home directory itself.\n" +
    "With --http it serves clients that send the token whose file it names, until it is ended: on the loopback, unless " +
    "HOST is another address; that takes --http-token-file, and something in front that encrypts.\n" +
    "The machines that it makes reach nothing, unless --network-policy or a rule says otherwise; no call can change that.\n" +
    "Nothing is started before the first call; the VMs belong to the daemon, not to this process.",
  profiles: [],
  kind: "write",
  input: z.strictObject({
    profile: z.enum(PROFILES).optional().describe("The set of tools (default: workspace-core)"),
    mode: z.enum(MODES).optional().describe("The set of tools by what it is for; excludes --profile"),
    environment: field.environment().default(DEFAULT_ENVIRONMENT).describe("Taken when a call names none"),
    project_path: hostPath().optional().describe("Git checkout that workspaces begin with"),
    repo_url: z.string().min(1).max(4096).optional().describe("Git repository that workspaces begin with"),
    repo_ref: z.string().min(1).max(255).optional().describe("Its branch, tag or commit"),
    no_project_source: z.boolean().default(false).describe("Begin empty where a call names no seed"),
    host_roots: z
      .array(hostPath())
      .max(64)
      .default([])
      .describe("Directory that the tools may read seeds from and export to; repeatable"),
    ...networkFields,
    http: z
      .string()
      .max(64)
      .optional()
      .describe(
        "[HOST:]PORT to serve Streamable HTTP on instead, by default on the loopback; 0 takes a free port",
      ),
    http_token_file: hostPath()
      .optional()
      .describe(
        "File of yours alone with the token that clients send (default: one that is made for all starts)",
      ),
    http_allow_hosts: z
      .array(z.string().max(253).refine(isHostName, "takes a host's name, without a port"))
      .max(64)
      .default([])
      .describe("Name that clients may know the server by, such as a proxy's in front of it; repeatable"),
    seed_include: z
      .array(hostPath())
      .max(64)
      .default([])
      .describe("Ignored path of the project to take all the same, such as node_modules; repeatable"),
  }),
  positionals: [],
  commandLineNames: { host_roots: "host_root", http_allow_hosts: "http_allow_host" },
  examples: [
    {
      command: "claude mcp add pyro -- pyro mcp serve",
      says: "connects Claude Code; `pyro host connect claude-code` does it too",
    },
    { command: "codex mcp add pyro -- pyro mcp serve", says: "connects Codex" },
    { command: "pyro mcp serve --http 8765", says: "serves at http://127.0.0.1:8765/mcp" },
    {
      command: "pyro mcp serve --mode inspect --repo-url https://example.org/x.git",
      says: "looks at a repository",
    },
  ],
});
