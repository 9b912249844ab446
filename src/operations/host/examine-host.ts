import {
  launcherOf,
  probeServer,
  shellLine,
  shownLine,
  shownWords,
  type ChatHost,
  type Entry,
  type HostCheck,
  type HostWorld,
  type Probe,
} from "../../chat-hosts/index.js";
import { findProgram, searchPath, thisBuild } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { visibleName } from "../text.js";
import { judgeEntry } from "./judge-entry.js";
import { examineRemote } from "./remote-entry.js";

/**
 * How a host stands to pyro. `drifted`: the entry is not what connect would write. `failing`: it is, and its server does
 * not serve, or the host says that it does not. `config-invalid`: the host's configuration is not what the host reads.
 */
export const HOST_STATES = [
  "not-installed",
  "not-connected",
  "connected",
  "drifted",
  "failing",
  "config-invalid",
] as const;
export type HostState = (typeof HOST_STATES)[number];

/** One host, looked at from the file to the running server. */
export interface HostReport {
  readonly host: string;
  readonly title: string;
  readonly state: HostState;
  /** The host's own program, where PATH finds it. */
  readonly program: string | null;
  readonly configPath: string;
  readonly scope: string | null;
  /** What the entry starts; passwords in URLs left out. */
  readonly command: readonly string[] | null;
  /** Where the server is, for one that runs already. */
  readonly url: string | null;
  readonly problems: readonly string[];
  /** The next thing to type; empty where nothing is to be done. */
  readonly hint: string;
  /** What the server said of itself when it was started by the entry's command. */
  readonly server: { readonly name: string; readonly version: string; readonly tools: number } | null;
  /** Where workspaces begin in this directory. */
  readonly projectSource: string | null;
  readonly hostCheck: HostCheck | null;
}

/** Looks at a host; starts the entry's server, and asks the host itself. Never throws but the signal's reason. */
export async function examineHost(host: ChatHost, world: HostWorld): Promise<HostReport> {
  const program = (await findProgram(host.program, searchPath(world.env["PATH"]))) ?? null;
  const nothing = {
    ...{ host: host.name, title: host.title, program, configPath: await host.configPath(world) },
    ...{ scope: null, command: null, url: null, problems: [], hint: "", server: null, projectSource: null },
    hostCheck: null,
  };
  if (program === null)
    return { ...nothing, state: "not-installed", hint: `install ${host.title}: \`${host.installation}\`` };
  try {
    const entry = await host.read(world);
    if (entry === undefined)
      return { ...nothing, state: "not-connected", hint: `run \`pyro host connect ${host.name}\`` };
    return { ...nothing, ...(await examineEntry(host, world, entry)) };
  } catch (error) {
    world.signal?.throwIfAborted();
    const { code, message, hint } = PyroError.from(error);
    const state = code === "HOST_CONFIG_INVALID" ? "config-invalid" : "failing";
    return { ...nothing, state, problems: [message], hint };
  }
}

type EntryReport = Omit<HostReport, "host" | "title" | "program">;

async function examineEntry(host: ChatHost, world: HostWorld, entry: Entry): Promise<EntryReport> {
  const { start } = entry;
  if (start.kind === "remote") {
    const where = { configPath: entry.path, scope: entry.scope, url: shownLine([start.url]) };
    return { ...where, command: null, projectSource: null, ...(await examineRemote(host, world, entry)) };
  }
  const { problems, serve } = await judgeEntry(world, entry);
  const command = start.kind === "program" ? start.command : null;
  const report = {
    ...{ configPath: entry.path, scope: entry.scope, problems },
    ...{ command: command === null ? null : shownWords(command), url: null },
    ...{ server: null, projectSource: null, hostCheck: null },
  };
  const repair = `run \`pyro host repair ${host.name}\``;
  if (problems.length > 0 || command === null) return { ...report, state: "drifted", hint: repair };
  const [probe, hostCheck] = await Promise.all([
    // Variables that a project's file sets could have Node load anything.
    probeServer(world, command, entry.scope === "project" ? {} : entry.env),
    host.check(world, entry),
  ]);
  const seen = { ...report, hostCheck, ...(probe.ok ? serverOf(probe) : {}) };
  const other = otherProblem(probe, serve !== undefined);
  if (other !== undefined) {
    const foreign = probe.ok ? `if it may go: ${host.removal(entry)}` : repair;
    return {
      ...seen,
      state: "drifted",
      problems: [`it starts \`${shownLine(command)}\`, ${other}`],
      hint: foreign,
    };
  }
  if (!probe.ok)
    return {
      ...seen,
      state: "failing",
      problems: [`the server: ${probe.reason}`],
      hint: await hintOf(world, command, host.name),
    };
  if (!hostCheck.ok) {
    const says = `\`${hostCheck.by}\` says: ${hostCheck.says}`;
    return { ...seen, state: "failing", problems: [says], hint: `run \`${hostCheck.by}\` yourself` };
  }
  return { ...seen, state: "connected", hint: "" };
}

/** An entry that is not written as ours: its server tells whether it is pyro all the same. */
function otherProblem(probe: Probe, serves: boolean): string | undefined {
  if (probe.ok) return probe.server === "pyro" ? undefined : `another server: ${probe.server}`;
  return serves ? undefined : `which is not pyro: ${probe.reason}`;
}

function serverOf(probe: Extract<Probe, { ok: true }>): Pick<EntryReport, "server" | "projectSource"> {
  const { server: name, version, tools, projectSource } = probe;
  return { server: { name, version, tools }, projectSource: projectSource ?? null };
}

/** What helps against a server that does not serve: this pyro in its place, if it is another. */
async function hintOf(world: HostWorld, command: readonly string[], host: string): Promise<string> {
  const launcher = await launcherOf(world);
  if (launcher.some((word, index) => word !== command[index])) return `run \`pyro host repair ${host}\``;
  return "run the entry's command yourself to see what it says; `pyro doctor` looks at the rest of this host";
}

/** Lines for people. */
export function renderHostReport(report: HostReport): string {
  const { host, state, configPath, scope, command, url, problems, hint, server, projectSource, hostCheck } =
    report;
  const where = scope === null ? configPath : `${configPath} (${scope})`;
  const rows: (readonly [string, string])[] = [
    ...(state === "not-installed" ? [] : [["config", where] as const]),
    ...(command === null ? [] : [["entry", shellLine(command)] as const]),
    ...(url === null ? [] : [["url", url] as const]),
    ...(server === null
      ? []
      : [
          [
            "server",
            `${server.name} ${server.version}, ${server.tools} tools${otherVersion(server)}`,
          ] as const,
        ]),
    ...(projectSource === null ? [] : [["project", projectSource] as const]),
    ...(hostCheck === null ? [] : [["host", `\`${hostCheck.by}\`: ${hostCheck.says}`] as const]),
    ...problems.map((problem) => ["problem", problem] as const),
    ...(hint === "" ? [] : [["hint", hint] as const]),
  ];
  return [
    `${host}: ${state}`,
    ...rows.map(([name, says]) => `  ${name.padEnd(7)}  ${visibleName(says)}`),
  ].join("\n");
}

function otherVersion({ name, version }: { name: string; version: string }): string {
  const { version: own } = thisBuild();
  return name === "pyro" && version !== own ? ` (the pyro that you run is ${own})` : "";
}
