import type { CallToolResult } from "@modelcontextprotocol/server";
import { PyroError } from "../protocol/index.js";
import type { RunWindow, StreamWindow } from "../sdk/index.js";
import { toGuestText } from "./guest-text.js";
import { toolHint } from "./tool-hint.js";

/** Where the machine fields of a bulk-text result stand; no model sees them, programs do. */
export const META_KEY = "pyro/result";

/** A failure: text only, what failed, the next thing to do. `args` is what the call was given. */
export function errorResult(thrown: unknown, args?: unknown): CallToolResult {
  const from = PyroError.from(thrown);
  const { code, message, details, retryable } = from;
  const error = new PyroError(code, message, { hint: toolHint(from, args), details, retryable });
  const lines = [
    `${code}: ${toGuestText(Buffer.from(message)).text}`,
    ...(error.hint === "" ? [] : [`hint: ${toGuestText(Buffer.from(error.hint)).text}`]),
    ...(retryable ? ["the same call may succeed later"] : []),
  ];
  return {
    isError: true,
    content: [{ type: "text", text: lines.join("\n") }],
    _meta: { [META_KEY]: { error: error.toJSON() } },
  };
}

/** Bulk text: our words, then the guest's bytes, then the fields for programs. */
export function bulkResult(
  { words, guest }: { readonly words: string; readonly guest: string },
  fields: Readonly<Record<string, unknown>>,
): CallToolResult {
  return {
    content: [
      { type: "text", text: words },
      ...(guest === "" ? [] : [{ type: "text" as const, text: guest }]),
    ],
    _meta: { [META_KEY]: fields },
  };
}

/** A record: its text and its structure are each complete, because hosts show one of them. */
export function recordResult(text: string, record: Readonly<Record<string, unknown>>): CallToolResult {
  return { content: [{ type: "text", text }], structuredContent: record };
}

/** The streams of a window, and where to read on, with the contract's field names. */
export function windowFields(
  window: RunWindow | null,
  shown: { readonly nextOffset: number; readonly shownBytes: number },
): Record<string, unknown> {
  if (window === null) return {};
  return {
    ...streamFields("stdout", window.stdout),
    ...streamFields("stderr", window.stderr),
    offset: window.offset,
    next_offset: shown.nextOffset,
    total_bytes: window.totalBytes,
    shown_bytes: shown.shownBytes,
  };
}

function streamFields(
  name: "stdout" | "stderr",
  { data, truncated, totalBytes }: StreamWindow,
): Record<string, unknown> {
  return {
    [name]: Buffer.from(data).toString("utf8"),
    [`${name}_truncated`]: truncated,
    [`${name}_bytes`]: totalBytes,
  };
}
