import { isDeepStrictEqual } from "node:util";
import * as z from "zod";
import {
  chatHost,
  CHAT_HOSTS,
  launcherOf,
  NPX_START,
  probeServer,
  shellLine,
  shownLine,
  type ChatHost,
  type Entry,
  type HostWorld,
  type StartCommand,
} from "../../chat-hosts/index.js";
import { directoriesFor } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { defineOperation } from "../operation.js";
import { visibleName } from "../text.js";
import { entryLine, entryRecord, hostName, requireInstalled, toRecord, urlOf } from "./connect.js";
import { entryOptions, refuseContradictions, surroundings, toServeOptions } from "./entry-options.js";
import { judgeEntry, type Judgement } from "./judge-entry.js";
import { repairRemote, requireServing } from "./remote-entry.js";
import { remoteServer } from "./remote-server.js";
import { serveWords, type ServeOptions } from "./serve-words.js";

/** `pyro host repair`. */
export const hostRepair = defineOperation({
  name: "host_repair",
  command: ["host", "repair"],
  summary: "Mend the entry of pyro in a chat host's configuration",
  description:
    "Mends what `pyro host doctor` names: a program that is gone, options that do not exist or are not valid, an entry " +
    "that is switched off or malformed. Valid options of the entry stay, those given here win; whatever else stands in " +
    "the file is not touched. A file that the host cannot read is left as it is.",
  profiles: [],
  kind: "write",
  input: z
    .strictObject({ host: hostName().describe(`The chat host: ${CHAT_HOSTS.join(", ")}`), ...entryOptions })
    .check(refuseContradictions),
  output: entryRecord,
  positionals: ["host"],
  examples: [
    { command: "pyro host repair codex", says: "after pyro moved" },
    {
      command: "pyro host repair claude-code --mode inspect",
      says: "changes the tools, keeps the other options",
    },
  ],
  run: async (given, context) => {
    const { host: name, ...options } = given;
    const [host, world] = [chatHost(name), surroundings(context.signal)];
    await requireInstalled(host, world);
    const entry = await host.read(world);
    if (entry === undefined) {
      throw new PyroError("HOST_NOT_CONNECTED", `${host.title} has no entry pyro`, {
        hint: `run \`pyro host connect ${name}\``,
      });
    }
    const server = await remoteServer(given, context);
    if (server !== undefined) {
      const { entry: mended, ...how } = await repairRemote(host, world, entry, server);
      return toRecord(host, mended, { ...how, before: entry });
    }
    if (entry.start.kind === "remote" && optionsGiven(given))
      throw foreign(host, entry, namesElsewhere(entry));
    if (entry.start.kind === "remote") {
      await requireServing(host, world, entry);
      return toRecord(host, entry, { changed: false, before: entry, mended: [] });
    }
    const judged = await judgeEntry(world, entry);
    const unchanged = { changed: false, before: entry, mended: [] };
    if (judged.serve === undefined && (await isOwnWay(host, world, entry)))
      return toRecord(host, entry, unchanged);
    const wanted = merged(judged.options, await toServeOptions(options, context));
    const own = context.pyro.stateDir === directoriesFor().state ? undefined : context.pyro.stateDir;
    const words = serveWords(wanted, own ?? judged.serve?.stateDir);
    const start = given.npx ? NPX_START : (judged.start ?? (await launcherOf(world)));
    const isAsWanted =
      judged.problems.length === 0 && isDeepStrictEqual(wordsOf(judged), [...start, ...words]);
    if (!isAsWanted) {
      const mended = await host.mend(world, entry, [...start, ...words]);
      return toRecord(host, mended, { changed: true, before: entry, mended: judged.problems });
    }
    const probe = await probeServer(world, [...start, ...words], entry.scope === "project" ? {} : entry.env);
    if (probe.ok) return toRecord(host, entry, unchanged);
    const mended = await host.mend(world, entry, [
      ...(await otherStart(world, start, probe.reason)),
      ...words,
    ]);
    return toRecord(host, mended, { changed: true, before: entry, mended: [`the server: ${probe.reason}`] });
  },
  render: (record) => {
    const { title } = chatHost(record.host);
    const where = `${record.config_path} (${record.scope})`;
    if (!record.changed)
      return `the entry of ${title} is in order, nothing was changed: ${where}\n  entry  ${entryLine(record)}`;
    return [
      `the entry of ${title} is mended: ${where}`,
      ...record.mended.map((problem) => `  was    ${problem}`),
      ...(record.before === null ? [] : [`  before ${visibleName(shellLine(record.before))}`]),
      `  entry  ${entryLine(record)}`,
      `  next   start a new session of ${title}; \`pyro host doctor ${record.host}\` tries the whole way`,
    ].join("\n");
  },
});

/** The entry's command in the manner in which it would be written. */
function wordsOf({ serve, options }: Judgement): readonly string[] {
  return serve === undefined ? [] : [...serve.start, ...serveWords(options, serve.stateDir)];
}

/**
 * This pyro, for an entry whose own is there and does not serve.
 * @throws {PyroError} HOST_COMMAND_FAILED where the entry starts this one already
 */
async function otherStart(world: HostWorld, start: StartCommand, reason: string): Promise<StartCommand> {
  const launcher = await launcherOf(world);
  if (!isDeepStrictEqual(launcher, start)) return launcher;
  throw new PyroError(
    "HOST_COMMAND_FAILED",
    `the entry is as it should be, and its server does not serve: ${reason}`,
    {
      hint: "run the entry's command yourself to see what it says (`pyro host doctor` shows it); `pyro doctor` looks at this host",
    },
  );
}

/**
 * An entry that is not written as pyro's: true where its server is pyro all the same, by the user's own means; false
 * where it starts nothing that serves.
 * @throws {PyroError} HOST_ENTRY_DIFFERS where it serves something else
 */
async function isOwnWay(host: ChatHost, world: HostWorld, entry: Entry): Promise<boolean> {
  if (entry.start.kind === "malformed") return false;
  if (entry.start.kind === "remote") throw foreign(host, entry, namesElsewhere(entry));
  if (entry.scope === "project") return false;
  const probe = await probeServer(world, entry.start.command, entry.env);
  if (!probe.ok) return false;
  if (probe.server === "pyro" && entry.enabled) return true;
  if (probe.server === "pyro") return false;
  throw foreign(host, entry, `starts another server, ${probe.server}: \`${shownLine(entry.start.command)}\``);
}

function namesElsewhere(entry: Entry): string {
  return `names a server elsewhere: ${urlOf(entry) ?? ""}`;
}

/** Whether anything was given that an entry of a program would say. */
function optionsGiven({ host: _, ...options }: z.output<typeof hostRepair.input>): boolean {
  return Object.values(options).some((value) => value !== undefined && value !== false);
}

function foreign(host: ChatHost, entry: Entry, says: string): PyroError {
  return new PyroError(
    "HOST_ENTRY_DIFFERS",
    `the entry pyro in ${entry.path} ${says}; it was left as it is`,
    {
      hint: `if it may go: ${host.removal(entry)}, then \`pyro host connect ${host.name}\``,
    },
  );
}

/** What goes when an option is given: it excludes them, or they belong to what it replaces. */
const REPLACED: readonly (readonly [keyof ServeOptions, readonly (keyof ServeOptions)[]])[] = [
  ["profile", ["mode"]],
  ["mode", ["profile"]],
  ["project_path", ["repo_url", "repo_ref", "no_project_source"]],
  ["repo_url", ["project_path", "repo_ref", "no_project_source", "seed_include"]],
  ["no_project_source", ["project_path", "repo_url", "repo_ref", "seed_include"]],
];

/** The entry's options under those given. */
function merged(there: ServeOptions, given: ServeOptions): ServeOptions {
  const named = Object.entries(given).filter(([, value]) => value !== undefined && value !== false);
  const isNamed = (name: string): boolean => named.some(([one]) => one === name);
  const gone = REPLACED.flatMap(([name, others]) => (isNamed(name) ? others : []));
  const left = Object.entries(there).filter(([name]) => !gone.includes(name as keyof ServeOptions));
  return Object.fromEntries([...left, ...named]);
}
