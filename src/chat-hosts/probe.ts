import type { Readable } from "node:stream";
import { launch, LaunchError, thisBuild } from "../kit/index.js";
import type { HostWorld, StartCommand } from "./chat-host.js";
import { plain } from "./host-command.js";

/** What a server said when it was started and asked for its tools. */
export type Probe =
  | {
      readonly ok: true;
      readonly server: string;
      readonly version: string;
      readonly tools: number;
      /** Where its workspaces begin, in its own words; undefined where it does not say. */
      readonly projectSource: string | undefined;
    }
  | { readonly ok: false; readonly reason: string };

/** Listing tools starts no daemon; what takes longer hangs. */
const PROBE_MS = 15_000;
/** npx may fetch the package first. */
const NPX_PROBE_MS = 60_000;
const STDOUT_BYTES_MAX = 4 * 1024 * 1024;
/** What Codex passes on to a server, the strictest of the hosts (measured with 0.169.0). */
const PASSED_ON = ["HOME", "PATH", "LANG", "SHELL", "TERM", "USER", "LOGNAME"];
/** The oldest revision that the hosts of today open with. */
export const PROTOCOL = "2025-06-18";

/**
 * Starts a server as a host does, asks for its tools and ends it. Never throws but the signal's reason: what goes wrong
 * is the answer.
 */
export async function probeServer(
  world: HostWorld,
  [program, ...args]: StartCommand,
  env: Readonly<Record<string, string>>,
): Promise<Probe> {
  const timeoutMs = world.commandMs ?? (program === "npx" ? NPX_PROBE_MS : PROBE_MS);
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal = world.signal === undefined ? deadline : AbortSignal.any([world.signal, deadline]);
  try {
    await using child = await launch(program, args, {
      ...{ cwd: world.cwd, env: { ...passedOn(world), ...env } },
      ...{ stdin: "pipe", stdout: "pipe", graceMs: 1_000 },
    });
    const end = (): void => void child.close();
    signal.addEventListener("abort", end, { once: true });
    const { stdin, stdout } = child;
    if (stdin === null || stdout === null) return { ok: false, reason: "it has no pipes" };
    stdin.on("error", () => undefined);
    const send = (message: object): void =>
      void stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
    const answer = await exchange(send, stdout);
    signal.removeEventListener("abort", end);
    world.signal?.throwIfAborted();
    if (answer.ok) return { ...answer, projectSource: projectSourceIn(child.stderrTail()) };
    if (deadline.aborted) return { ok: false, reason: `no answer within ${Math.ceil(timeoutMs / 1000)} s` };
    if (answer.reason !== "") return answer;
    const { code, signal: by, stderrTail } = await child.close();
    const how = code === null ? `ended by ${by ?? "a signal"}` : `ended with exit code ${code}`;
    return { ok: false, reason: `it ${how}${errorIn(stderrTail)}` };
  } catch (error) {
    world.signal?.throwIfAborted();
    if (error instanceof LaunchError) return { ok: false, reason: error.message };
    throw error;
  }
}

type Answer = Omit<Extract<Probe, { ok: true }>, "projectSource"> | Extract<Probe, { ok: false }>;

/** initialize, tools/list; an empty reason where the server left without an answer. */
async function exchange(send: (message: object) => void, stdout: Readable): Promise<Answer> {
  const clientInfo = { name: "pyro host doctor", version: thisBuild().version };
  send({ id: 1, method: "initialize", params: { protocolVersion: PROTOCOL, capabilities: {}, clientInfo } });
  let server: { name?: unknown; version?: unknown } = {};
  for await (const line of linesOf(stdout)) {
    const message = parsed(line);
    if (message === undefined)
      return { ok: false, reason: `it prints what is no JSON-RPC: ${JSON.stringify(line.slice(0, 80))}` };
    const { id, result, error } = message;
    if (id !== 1 && id !== 2) continue;
    if (result === undefined)
      return { ok: false, reason: `it answers with an error: ${error?.message ?? ""}` };
    if (id === 1) {
      server = result.serverInfo ?? {};
      send({ method: "notifications/initialized" });
      send({ id: 2, method: "tools/list" });
    } else {
      const tools = Array.isArray(result.tools) ? result.tools.length : 0;
      return { ok: true, server: text(server.name), version: text(server.version), tools };
    }
  }
  return { ok: false, reason: "" };
}

/** What a server answers, unproven. */
export interface Message {
  readonly id?: unknown;
  readonly result?: { readonly serverInfo?: { name?: unknown; version?: unknown }; readonly tools?: unknown };
  readonly error?: { readonly message?: string };
}

/** A line of JSON-RPC; undefined for what is none. */
export function parsed(line: string): Message | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

async function* linesOf(stream: Readable): AsyncGenerator<string> {
  let rest = "";
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > STDOUT_BYTES_MAX) return;
    const lines = (rest + chunk.toString("utf8")).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") yield line;
  }
}

export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function passedOn({ env }: HostWorld): Record<string, string> {
  return Object.fromEntries(
    PASSED_ON.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])),
  );
}

/** `pyro mcp serve` says it on standard error. */
function projectSourceIn(stderr: string): string | undefined {
  return /^pyro: project source: (.+)$/m.exec(plain(stderr))?.[1];
}

/** The first line of what it said before it left: there its error stands. */
function errorIn(stderr: string): string {
  const [line] = plain(stderr)
    .split("\n")
    .filter((said) => said.trim() !== "");
  return line === undefined ? "" : `: ${line.slice(0, 300)}`;
}
