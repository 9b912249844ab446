import { homedir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { ChatHost, Entry, EntryStart, HostWorld, RemoteServer, StartCommand } from "./chat-host.js";
import { failed } from "./host-command.js";

/** The user's home as the host sees it. */
export function homeOf({ env }: HostWorld): string {
  const home = env["HOME"];
  return home === undefined || home === "" ? homedir() : home;
}

/**
 * The same user at home: hosts load settings, plugins and servers of the project that they are started in, and pyro is
 * asked about projects that nobody trusts yet.
 */
export function atHome(world: HostWorld): HostWorld {
  return { ...world, cwd: homeOf(world) };
}

/** A directory that a variable names, else the one below the home. */
export function directoryOf(world: HostWorld, variable: string, ...below: readonly string[]): string {
  const named = world.env[variable];
  return named === undefined || named === "" ? join(homeOf(world), ...below) : named;
}

/** What an entry starts, from its program and its words; what is no list of texts is malformed. */
export function startOf(program: unknown, words: unknown): EntryStart {
  const rest = words ?? [];
  if (typeof program !== "string" || program === "")
    return {
      kind: "malformed",
      says: program === undefined ? "it has no command" : `its command is ${JSON.stringify(program)}`,
    };
  if (!Array.isArray(rest) || !rest.every((word) => typeof word === "string"))
    return { kind: "malformed", says: `its arguments are ${JSON.stringify(words)}` };
  return { kind: "program", command: [program, ...rest] };
}

/** A server elsewhere, from its URL and the value that the host's configuration has for the header. */
export function remoteOf(url: string, authorization: unknown): EntryStart {
  return { kind: "remote", url, ...(typeof authorization === "string" ? { authorization } : {}) };
}

/** A value with `${NAME}` filled in; undefined where a variable is not set. */
export function withVariables(value: unknown, { env }: HostWorld): string | undefined {
  if (typeof value !== "string") return undefined;
  const names = [...value.matchAll(/\$\{(\w+)\}/g)].map(([, name = ""]) => name);
  if (names.some((name) => env[name] === undefined)) return undefined;
  return value.replace(/\$\{(\w+)\}/g, (_, name: string) => env[name] ?? "");
}

/** The header for a token. */
export function bearer(token: string): string {
  return `Bearer ${token}`;
}

/** The value of a header whatever the case of its name. */
export function headerOf(headers: unknown, name: string): unknown {
  return Object.entries(variablesOf(headers)).find(([key]) => key.toLowerCase() === name)?.[1];
}

/** The texts among the values of a table. */
export function variablesOf(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter((pair): pair is [string, string] => typeof pair[1] === "string"),
  );
}

/**
 * The entry as it is after it was written, read anew.
 * @throws {PyroError} HOST_COMMAND_FAILED when it is not what was to be written
 */
export async function requireWritten(
  host: ChatHost,
  world: HostWorld,
  command: StartCommand,
  by: readonly string[],
): Promise<Entry> {
  return await requireRead(host, world, { kind: "program", command }, by);
}

/**
 * The same for a server over HTTP.
 * @throws {PyroError} HOST_COMMAND_FAILED when it is not what was to be written
 */
export async function requireRemoteWritten(
  host: ChatHost,
  world: HostWorld,
  { url, token }: RemoteServer,
  by: readonly string[],
): Promise<Entry> {
  return await requireRead(host, world, { kind: "remote", url, authorization: bearer(token) }, by);
}

/** @throws {PyroError} HOST_COMMAND_FAILED when the entry does not start that */
export async function requireRead(
  host: ChatHost,
  world: HostWorld,
  start: EntryStart,
  by: readonly string[],
): Promise<Entry> {
  const entry = await host.read(world);
  if (entry !== undefined && isDeepStrictEqual(entry.start, start)) return entry;
  const [program = "", ...args] = by;
  throw failed({ program, args }, `left no such entry in ${await host.configPath(world)}`);
}
