import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import {
  localhostAllowedHostnames,
  validateHostHeader,
  validateOriginHeader,
} from "@modelcontextprotocol/server";
import { shown } from "../../kit/index.js";
import type { Answer } from "./exchange.js";
import { refusal } from "./refusal.js";

/** Whom a server answers. */
export interface Gate {
  readonly token: string;
  /** The one path that there is. */
  readonly path: string;
  /** Names besides those of the loopback that it goes by. */
  readonly names?: readonly string[];
  /** Whether it goes by any numeric address too: rebinding takes a name. */
  readonly anyAddress?: boolean;
  /** Most requests at once. */
  readonly requests: number;
}

/**
 * Lets through what was asked of this machine by name, and by no page of another one: a name of somebody else's that
 * leads here (DNS rebinding) shows in Host, a page in Origin.
 */
export function localOnly(
  answer: Answer,
  { names = [], anyAddress = false }: Pick<Gate, "names" | "anyAddress"> = {},
): Answer {
  const known = [...localhostAllowedHostnames(), ...names];
  return async (exchange) => {
    const { headers } = exchange.request;
    const host = headers.get("host");
    if (!(anyAddress && isAddress(host)) && !validateHostHeader(host, known).ok)
      return refusal(
        403,
        `the Host ${said(host)} is none of this server's; --http-allow-host adds a name to them`,
      );
    const origin = headers.get("origin");
    if (!validateOriginHeader(origin, known).ok)
      return refusal(403, `the Origin ${said(origin)} may not ask this server`);
    return await answer(exchange);
  };
}

/** The same, for the one path and for whoever has the token. What has it not is not read any further. */
export function guarded(gate: Gate, answer: Answer): Answer {
  let open = 0;
  return localOnly(async (exchange) => {
    const { request, closed } = exchange;
    const given = request.headers.get("authorization");
    if (!hasToken(given, gate.token)) {
      const wrong = given === null ? "" : ', error="invalid_token"';
      return refusal(
        401,
        `${given === null ? "the request has no token" : "this is not the token of this server"}: ${ASK}`,
        {
          headers: { "www-authenticate": `Bearer realm="pyro"${wrong}` },
        },
      );
    }
    if (new URL(request.url).pathname !== gate.path) return refusal(404, `the server is at ${gate.path}`);
    if (closed.aborted || open >= gate.requests)
      return refusal(503, `${gate.requests} requests are being answered: try again`, {
        headers: { "retry-after": "1" },
      });
    open++;
    closed.addEventListener("abort", () => open--, { once: true });
    return await answer(exchange);
  }, gate);
}

const ASK =
  "send the header Authorization: Bearer TOKEN; where it stands, `pyro mcp serve` says as it starts";

function hasToken(header: string | null, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(header ?? "")?.[1];
  // Of digests, which have one length: how long a comparison takes tells nothing of the token.
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** Of `address` or `address:port`, an IPv6 address in brackets. */
function isAddress(host: string | null): boolean {
  const [, v6, v4] = /^(?:\[([^\]]+)\]|([\d.]+))(?::\d+)?$/.exec(host ?? "") ?? [];
  return isIP(v6 ?? v4 ?? "") > 0;
}

function said(header: string | null): string {
  return header === null ? "(none)" : shown(header);
}
