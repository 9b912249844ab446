import { isDeepStrictEqual } from "node:util";
import * as z from "zod";
import {
  CHAT_HOSTS,
  chatHost,
  shellLine,
  shownLine,
  shownWords,
  type ChatHost,
  type Entry,
  type HostWorld,
  type StartCommand,
} from "../../chat-hosts/index.js";
import { findProgram, searchPath } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { defineOperation } from "../operation.js";
import { visibleName } from "../text.js";
import {
  entryCommand,
  entryOptions,
  optionWords,
  refuseContradictions,
  surroundings,
  toServeOptions,
} from "./entry-options.js";
import { judgeEntry } from "./judge-entry.js";
import { connectRemote } from "./remote-entry.js";
import { remoteServer } from "./remote-server.js";
import { serveWords, type ServeOptions } from "./serve-words.js";

export const hostName = (): z.ZodEnum<{ [Name in (typeof CHAT_HOSTS)[number]]: Name }> => z.enum(CHAT_HOSTS);

/** What connect and repair give. */
export const entryRecord = z.object({
  host: hostName(),
  /** False where the entry was like this already. */
  changed: z.boolean(),
  config_path: z.string(),
  scope: z.string(),
  /** What the entry starts; empty for a server that runs already. */
  command: z.array(z.string()),
  /** Where such a server is. */
  url: z.string().nullable(),
  /** What it started before; null where there was none. */
  before: z.array(z.string()).nullable(),
  /** What was wrong with it. */
  mended: z.array(z.string()),
});

/** `pyro host connect`. */
export const hostConnect = defineOperation({
  name: "host_connect",
  command: ["host", "connect"],
  summary: "Write the entry of pyro into a chat host's configuration",
  description:
    `The host is one of ${CHAT_HOSTS.join(", ")}. Claude Code is connected by its own command, for all projects of ` +
    "the user; the files of Codex and OpenCode are edited in place: comments and other entries stay as they are. An " +
    "entry that is there already and says something else is not touched: `pyro host repair` changes it. The entry " +
    "starts `pyro` where PATH finds this pyro, else the launcher by its place.\n" +
    "The options are those of `pyro mcp serve`; it needs none: it serves workspaces of the project that the host is " +
    "opened in. With --url the host comes to a server that runs already instead; Claude Code and Codex keep its token, " +
    "OpenCode reads it from its file.",
  profiles: [],
  kind: "write",
  input: z
    .strictObject({
      host: hostName().describe(`The chat host: ${CHAT_HOSTS.join(", ")}`),
      ...entryOptions,
      output: z
        .string()
        .min(1)
        .max(4096)
        .optional()
        .describe("OpenCode: edit this file instead of the user's own, for example ./opencode.json"),
    })
    .check(refuseContradictions)
    .check(({ value, issues }) => {
      if (value.output === undefined || value.host === "opencode") return;
      const message = `${value.host} has one configuration; \`pyro host print-config ${value.host} --output FILE\` writes a snippet`;
      issues.push({ code: "custom", message, path: ["output"], input: value });
    }),
  output: entryRecord,
  positionals: ["host"],
  examples: [
    { command: "pyro host connect claude-code", says: "once; then in every project" },
    { command: "pyro host connect codex --mode repro-fix", says: "with the tools of one mode" },
    {
      command: "pyro host connect codex --url http://127.0.0.1:8765/mcp",
      says: "to `pyro mcp serve --http 8765`, which runs already",
    },
    { command: "pyro host connect opencode --output ./opencode.json", says: "for one project" },
  ],
  run: async (given, context) => {
    const { host: name, output, ...options } = given;
    const file = output === undefined ? undefined : await context.hostPath(output);
    const [host, world] = [chatHost(name, file), surroundings(context.signal)];
    if (file === undefined) await requireInstalled(host, world);
    const server = await remoteServer(given, context);
    if (server !== undefined) {
      const { entry, changed } = await connectRemote(host, world, server);
      return toRecord(host, entry, { changed, before: undefined, mended: [] });
    }
    const wanted = await toServeOptions(options, context);
    const command = await entryCommand(world, given.npx, wanted, context);
    const there = await host.read(world);
    if (there !== undefined && !(await isSame(world, there, command)))
      throw differs(host, there, wanted, given.npx);
    const entry = there ?? (await host.add(world, command));
    return toRecord(host, entry, { changed: there === undefined, before: undefined, mended: [] });
  },
  render: (record) => {
    const { title } = chatHost(record.host);
    const did = record.changed
      ? `${title} is connected`
      : `${title} was connected already, nothing was changed`;
    return [
      `${did}: ${record.config_path} (${record.scope})`,
      `  entry  ${entryLine(record)}`,
      `  next   start a new session of ${title}; \`pyro host doctor ${record.host}\` tries the whole way`,
    ].join("\n");
  },
});

/** What an entry starts, or where it leads, for people. */
export function entryLine({ command, url }: Pick<z.output<typeof entryRecord>, "command" | "url">): string {
  return visibleName(url ?? shellLine(command));
}

/** @throws {PyroError} HOST_NOT_INSTALLED */
export async function requireInstalled(host: ChatHost, world: HostWorld): Promise<void> {
  if ((await findProgram(host.program, searchPath(world.env["PATH"]))) !== undefined) return;
  throw new PyroError(
    "HOST_NOT_INSTALLED",
    `${host.title} is not installed: there is no \`${host.program}\` on PATH`,
    {
      hint: `install it with \`${host.installation}\`; for another machine, \`pyro host print-config ${host.name}\` shows the entry`,
    },
  );
}

export function toRecord(
  host: ChatHost,
  entry: Entry,
  how: { changed: boolean; before: Entry | undefined; mended: readonly string[] },
): z.output<typeof entryRecord> {
  const { path, scope } = entry;
  return {
    ...{ host: host.name, changed: how.changed, config_path: path, scope },
    ...{ command: commandOf(entry) ?? [], url: urlOf(entry) },
    ...{ before: commandOf(how.before), mended: [...how.mended] },
  };
}

function commandOf(entry: Entry | undefined): string[] | null {
  return entry?.start.kind === "program" ? shownWords(entry.start.command) : null;
}

export function urlOf({ start }: Entry): string | null {
  return start.kind === "remote" ? shownLine([start.url]) : null;
}

/** Whether an entry already says what would be written, in whatever order and manner. */
async function isSame(world: HostWorld, entry: Entry, command: StartCommand): Promise<boolean> {
  const { start, options, problems, serve } = await judgeEntry(world, entry);
  if (serve === undefined || start === undefined || problems.length > 0) return false;
  return isDeepStrictEqual([...start, ...serveWords(options, serve.stateDir)], [...command]);
}

function differs(host: ChatHost, entry: Entry, wanted: ServeOptions, npx: boolean): PyroError {
  const { start } = entry;
  const says =
    start.kind === "program"
      ? `\`${shownLine(start.command)}\``
      : start.kind === "remote"
        ? shownLine([start.url])
        : `something malformed (${start.says})`;
  const flags = [...optionWords(wanted), ...(npx ? ["--npx"] : [])];
  const repair = shownLine(["pyro", "host", "repair", host.name, ...flags]);
  return new PyroError(
    "HOST_ENTRY_DIFFERS",
    `${host.title} has an entry pyro already, in ${entry.path} (${entry.scope}), and it starts ${entry.enabled ? "" : "(switched off) "}${says}`,
    {
      hint: `\`${repair}\` changes it, and keeps its other options; to begin anew, ${host.removal(entry)}`,
      details: { path: entry.path, scope: entry.scope, command: commandOf(entry) },
    },
  );
}
