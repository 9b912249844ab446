import {
  bearer,
  probeRemote,
  shownLine,
  type ChatHost,
  type Entry,
  type HostCheck,
  type HostWorld,
  type RemoteServer,
} from "../../chat-hosts/index.js";
import { PyroError } from "../../protocol/index.js";

/** Whether an entry leads to that server, with its token. */
function isSameRemote({ start, enabled }: Entry, { url, token }: RemoteServer): boolean {
  return start.kind === "remote" && enabled && start.url === url && start.authorization === bearer(token);
}

/**
 * `pyro host connect HOST --url URL`.
 * @throws {PyroError} HOST_ENTRY_DIFFERS where another entry is there; those of the host
 */
export async function connectRemote(
  host: ChatHost,
  world: HostWorld,
  server: RemoteServer,
): Promise<{ readonly entry: Entry; readonly changed: boolean }> {
  const there = await host.read(world);
  if (there === undefined)
    return { entry: await host.connectRemote(world, server, undefined), changed: true };
  if (isSameRemote(there, server)) return { entry: there, changed: false };
  throw new PyroError(
    "HOST_ENTRY_DIFFERS",
    `${host.title} has an entry pyro already, in ${there.path} (${there.scope}), and it ${leadsTo(there, server)}`,
    { hint: wayToRemote(host, there, server), details: { path: there.path, scope: there.scope } },
  );
}

/**
 * `pyro host repair HOST --url URL`.
 * @throws {PyroError} HOST_ENTRY_DIFFERS where the entry starts a program; those of the host
 */
export async function repairRemote(
  host: ChatHost,
  world: HostWorld,
  there: Entry,
  server: RemoteServer,
): Promise<{ readonly entry: Entry; readonly changed: boolean; readonly mended: readonly string[] }> {
  if (isSameRemote(there, server)) return { entry: there, changed: false, mended: [] };
  if (there.start.kind === "program" || there.scope === "project") {
    throw new PyroError("HOST_ENTRY_DIFFERS", `the entry pyro in ${there.path} ${leadsTo(there, server)}`, {
      hint: wayToRemote(host, there, server),
    });
  }
  const entry = await host.connectRemote(world, server, there);
  return { entry, changed: true, mended: [`it ${leadsTo(there, server)}`] };
}

/**
 * A remote entry that is to be mended without another address: in order, or not to be mended from here.
 * @throws {PyroError} HOST_ENTRY_DIFFERS, HOST_COMMAND_FAILED
 */
export async function requireServing(host: ChatHost, world: HostWorld, entry: Entry): Promise<void> {
  const { state, problems, hint } = await examineRemote(host, world, entry);
  if (state === "connected") return;
  const code = state === "drifted" ? "HOST_ENTRY_DIFFERS" : "HOST_COMMAND_FAILED";
  const says = problems.join("; ");
  throw new PyroError(code, `the entry pyro in ${entry.path}: ${says}; it was left as it is`, { hint });
}

/** What a remote entry comes to. */
export interface RemoteReport {
  readonly state: "connected" | "drifted" | "failing";
  readonly problems: readonly string[];
  readonly hint: string;
  readonly server: { readonly name: string; readonly version: string; readonly tools: number } | null;
  readonly hostCheck: HostCheck | null;
}

/** Comes to the server as the host would, and asks the host itself. */
export async function examineRemote(host: ChatHost, world: HostWorld, entry: Entry): Promise<RemoteReport> {
  const { start, scope, enabled } = entry;
  if (start.kind !== "remote") throw new Error(`${start.kind} is not remote`);
  const { url, authorization } = start;
  const at = shownLine([url]);
  const nothing = { server: null, hostCheck: null };
  const change = `\`pyro host repair ${host.name} --url ${at}\``;
  // A file that anybody may have written names any place.
  if (scope === "project") {
    const says = `it is in a file of the project and names a server elsewhere, which was not tried: ${at}`;
    return { ...nothing, state: "drifted", problems: [says], hint: host.removal(entry) };
  }
  if (!enabled)
    return { ...nothing, state: "drifted", problems: ["it is switched off"], hint: `run ${change}` };
  const [probe, hostCheck] = await Promise.all([
    probeRemote(world, url, authorization),
    host.check(world, entry),
  ]);
  if (!probe.ok) {
    const hint = /HTTP 401/.test(probe.reason)
      ? `run ${change}, for a server elsewhere with \`--token-file FILE\``
      : "start it on its machine: `pyro mcp serve --http PORT`; or name another address: " +
        `\`pyro host repair ${host.name} --url URL\``;
    return { ...nothing, state: "failing", problems: [`the server at ${at}: ${probe.reason}`], hint };
  }
  const server = { name: probe.server, version: probe.version, tools: probe.tools };
  if (probe.server !== "pyro") {
    const says = `at ${at} is another server: ${probe.server}`;
    return {
      state: "drifted",
      problems: [says],
      hint: `if it may go: ${host.removal(entry)}`,
      server,
      hostCheck,
    };
  }
  if (hostCheck.ok) return { state: "connected", problems: [], hint: "", server, hostCheck };
  const says = `\`${hostCheck.by}\` says: ${hostCheck.says}`;
  return { state: "failing", problems: [says], hint: `run \`${hostCheck.by}\` yourself`, server, hostCheck };
}

function leadsTo({ start, enabled }: Entry, { url }: RemoteServer): string {
  if (start.kind === "program") return `starts \`${shownLine(start.command)}\``;
  if (start.kind === "malformed") return `is malformed: ${start.says}`;
  if (start.url !== url) return `leads to ${shownLine([start.url])}`;
  return enabled ? "has another token" : "is switched off";
}

function wayToRemote(host: ChatHost, there: Entry, { url }: RemoteServer): string {
  if (there.start.kind === "program" || there.scope === "project")
    return `if it may go: ${host.removal(there)}, then \`pyro host connect ${host.name} --url ${url}\``;
  return `\`pyro host repair ${host.name} --url ${url}\` changes it`;
}
