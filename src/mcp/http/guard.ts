import { createHash, timingSafeEqual } from "node:crypto";
import {
  hostHeaderValidationResponse,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
} from "@modelcontextprotocol/server";
import type { Answer } from "./web-server.js";

/**
 * Lets through what was asked of this machine by name, and by no page of another one: a name of somebody else's that
 * leads here (DNS rebinding) shows in Host, a page in Origin.
 */
export function localOnly(answer: Answer): Answer {
  return async (request) =>
    hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
    originValidationResponse(request, localhostAllowedOrigins()) ??
    (await answer(request));
}

/** The same, for the one path and for whoever has the token. */
export function guarded(token: string, path: string, answer: Answer): Answer {
  return localOnly(async (request) => {
    if (!hasToken(request, token)) {
      return refusal(401, "this server needs its token", { "www-authenticate": "Bearer" });
    }
    if (new URL(request.url).pathname !== path) return refusal(404, `the server is at ${path}`);
    return await answer(request);
  });
}

function hasToken(request: Request, token: string): boolean {
  const given = /^Bearer +(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  // Of digests, which have one length: how long a comparison takes tells nothing of the token.
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function refusal(status: number, message: string, headers: Record<string, string> = {}): Response {
  return Response.json({ jsonrpc: "2.0", error: { code: -32000, message }, id: null }, { status, headers });
}
