import { writeFile } from "node:fs/promises";
import * as z from "zod";
import {
  byWindow,
  CHAT_HOSTS,
  chatHost,
  remoteByWindow,
  type HostWorld,
  type RemoteServer,
  type Snippet,
  type StartCommand,
} from "../../chat-hosts/index.js";
import { PyroError } from "../../protocol/index.js";
import { defineOperation } from "../operation.js";
import {
  entryCommand,
  entryOptions,
  refuseContradictions,
  surroundings,
  toServeOptions,
} from "./entry-options.js";
import { remotePlace } from "./remote-server.js";

/** Hosts that pyro does not connect by itself: a window is all they have. */
const SHOWN_ONLY = ["claude-desktop", "cursor", "generic"] as const;
const PRINTABLE = [...CHAT_HOSTS, ...SHOWN_ONLY] as const;

const output = z.object({
  host: z.enum(PRINTABLE),
  /** What the entry starts; empty for a server that runs already. */
  command: z.array(z.string()),
  /** Where such a server is. */
  url: z.string().nullable(),
  /** One line for a shell that writes the entry; null where the host has no command that leaves the rest alone. */
  shell_command: z.string().nullable(),
  /** What has to stand in `config_path`. */
  config: z.string(),
  /** Null where that is the host's own affair. */
  config_path: z.string().nullable(),
  /** What is printed for people. */
  snippet: z.string(),
  /** The file that was written, with --output. */
  output_path: z.string().nullable(),
});

/** `pyro host print-config`. */
export const hostPrintConfig = defineOperation({
  name: "host_print_config",
  command: ["host", "print-config"],
  summary: "Print the entry of pyro for a chat host, to be pasted",
  description:
    "Nothing is written but --output, and no host has to be installed. `generic` is what most other MCP clients read. " +
    "The options are those of `pyro host connect`. With --url no token is shown: the entry names its file, or the " +
    "variable PYRO_TOKEN.",
  profiles: [],
  kind: "read",
  input: z
    .strictObject({
      host: z.enum(PRINTABLE).describe(`The chat host: ${PRINTABLE.join(", ")}`),
      ...entryOptions,
      output: z.string().min(1).max(4096).optional().describe("Write it to this new file instead"),
    })
    .check(refuseContradictions),
  output,
  positionals: ["host"],
  examples: [
    { command: "pyro host print-config claude-code", says: "the command to type" },
    { command: "pyro host print-config claude-desktop", says: "for claude_desktop_config.json" },
    { command: "pyro host print-config codex --mode inspect", says: "the table for config.toml" },
    {
      command: "pyro host print-config generic --npx --output mcp.json",
      says: "for a client of another machine",
    },
  ],
  run: async (given, context) => {
    const { host, output: path, ...options } = given;
    const world = surroundings(context.signal);
    const place = await remotePlace(given, context);
    const command =
      place === undefined
        ? await entryCommand(world, given.npx, await toServeOptions(options, context), context)
        : undefined;
    const shown = await snippetFor(host, world, command ?? place);
    const snippet = shownFor(host, shown);
    const outputPath = path === undefined ? null : await context.hostPath(path);
    if (outputPath !== null) await writeNew(outputPath, `${snippet}\n`);
    return {
      ...{ host, command: [...(command ?? [])], url: place?.url ?? null },
      ...{ shell_command: shown.command ?? null, config: shown.config },
      ...{ config_path: shown.path === "" ? null : shown.path, snippet, output_path: outputPath },
    };
  },
  render: ({ snippet, output_path: path }) => (path === null ? snippet : `written to ${path}`),
});

type Starts = StartCommand | Omit<RemoteServer, "token"> | undefined;

async function snippetFor(
  host: (typeof PRINTABLE)[number],
  world: HostWorld,
  starts: Starts,
): Promise<Snippet> {
  if (starts === undefined) throw new Error("nothing to start");
  if (host === "generic" || host === "claude-desktop" || host === "cursor")
    return "url" in starts ? remoteByWindow(host, world, starts) : await byWindow(host, world, starts);
  return "url" in starts
    ? await chatHost(host).remoteSnippet(world, starts)
    : await chatHost(host).snippet(world, starts);
}

/** The one thing to paste. Codex has both, and TOML has comments: the table keeps the comments of others. */
function shownFor(host: string, { command, config, path }: Snippet): string {
  if (host === "codex") return `# in ${path}, or by \`${command ?? ""}\`\n${config}`;
  return command ?? config;
}

async function writeNew(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text, { flag: "wx", mode: 0o600 });
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const hint =
      code === "EEXIST" ? "name a new file, or remove it first" : "name a file in a directory that exists";
    throw new PyroError("INVALID_ARGUMENT", `${path} cannot be written: ${code}`, { hint, cause: error });
  }
}
