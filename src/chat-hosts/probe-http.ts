import { thisBuild } from "../kit/index.js";
import type { HostWorld } from "./chat-host.js";
import { parsed, PROTOCOL, text, type Message, type Probe } from "./probe.js";

const PROBE_MS = 15_000;
const BYTES_MAX = 4 * 1024 * 1024;

/**
 * Comes to a server over HTTP as a host does, asks for its tools and ends the session. Never throws but the signal's
 * reason: what goes wrong is the answer. Redirects are not followed: the token goes to this place alone.
 */
export async function probeRemote(
  world: HostWorld,
  url: string,
  authorization: string | undefined,
): Promise<Probe> {
  const timeoutMs = world.commandMs ?? PROBE_MS;
  const deadline = AbortSignal.timeout(timeoutMs);
  const signal = world.signal === undefined ? deadline : AbortSignal.any([world.signal, deadline]);
  const session = new Session(url, authorization, signal);
  try {
    const clientInfo = { name: "pyro host doctor", version: thisBuild().version };
    const opening = { protocolVersion: PROTOCOL, capabilities: {}, clientInfo };
    const { result: hello } = await session.ask("initialize", 1, opening);
    await session.ask("notifications/initialized");
    const { result } = await session.ask("tools/list", 2);
    const tools = Array.isArray(result?.tools) ? result.tools.length : 0;
    const { name, version } = hello?.serverInfo ?? {};
    return { ok: true, server: text(name), version: text(version), tools, projectSource: undefined };
  } catch (error) {
    world.signal?.throwIfAborted();
    if (deadline.aborted) return { ok: false, reason: `no answer within ${Math.ceil(timeoutMs / 1000)} s` };
    return { ok: false, reason: reasonOf(error) };
  } finally {
    await session.end();
  }
}

/** A server's refusal, in words. */
class Refusal extends Error {
  override readonly name = "Refusal";
}

class Session {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #signal: AbortSignal;

  constructor(url: string, authorization: string | undefined, signal: AbortSignal) {
    this.#url = url;
    this.#signal = signal;
    this.#headers = authorization === undefined ? {} : { authorization };
  }

  /** A request, or without an id a notification. @throws {Refusal} */
  async ask(method: string, id?: number, params: object = {}): Promise<Message> {
    const body = JSON.stringify({ jsonrpc: "2.0", method, params, ...(id === undefined ? {} : { id }) });
    const response = await this.#fetch("POST", this.#signal, body);
    const said = await bounded(response);
    const messages = said
      .split("\n")
      .map((line) => parsed(line.replace(/^data:\s*/, "")))
      .filter((message) => message !== undefined);
    if (!response.ok) {
      const why = messages.find(({ error }) => error !== undefined)?.error?.message;
      throw new Refusal(
        `it answers HTTP ${response.status}${why === undefined ? "" : `: ${why.slice(0, 200)}`}`,
      );
    }
    this.#headers["mcp-session-id"] ??= response.headers.get("mcp-session-id") ?? "";
    if (this.#headers["mcp-session-id"] === "") delete this.#headers["mcp-session-id"];
    this.#headers["mcp-protocol-version"] = PROTOCOL;
    if (id === undefined) return {};
    const answer = messages.find((message) => message.id === id);
    if (answer?.error !== undefined)
      throw new Refusal(`it answers with an error: ${text(answer.error.message)}`);
    if (answer?.result === undefined) throw new Refusal("it answers what is no MCP");
    return answer;
  }

  /** A session that is left open would be kept for an hour. */
  async end(): Promise<void> {
    if (this.#headers["mcp-session-id"] === undefined) return;
    const soon = AbortSignal.timeout(1_000);
    await this.#fetch("DELETE", soon).then(
      (response) => response.body?.cancel(),
      () => undefined,
    );
  }

  #fetch(method: string, signal: AbortSignal, body?: string): Promise<Response> {
    const accept = "application/json, text/event-stream";
    const headers = { ...this.#headers, accept, "content-type": "application/json" };
    return fetch(this.#url, {
      method,
      headers,
      signal,
      redirect: "manual",
      ...(body === undefined ? {} : { body }),
    });
  }
}

async function bounded({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of (body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += part.length;
    if (bytes > BYTES_MAX) throw new Refusal("its answer does not end");
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  const { code, message } = ((error as Error).cause ?? error) as NodeJS.ErrnoException;
  return code === "ECONNREFUSED" ? "nothing listens there" : `it cannot be reached: ${code ?? message}`;
}
