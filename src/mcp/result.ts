import type { CallToolResult } from "@modelcontextprotocol/server";
import { snakeKeys } from "../operations/index.js";
import { PyroError } from "../protocol/index.js";
import type { RunRecord, StreamWindow } from "../sdk/index.js";
import { toGuestText } from "./guest-text.js";
import type { RunText } from "./run-text.js";

/** Where the machine fields of a bulk-text result stand; no model sees them, programs do. */
const META_KEY = "pyro/result";

/** A failure: text only, what failed, the next thing to do. */
export function errorResult(thrown: unknown): CallToolResult {
  const error = PyroError.from(thrown);
  const lines = [
    `${error.code}: ${toGuestText(Buffer.from(error.message)).text}`,
    ...(error.hint === "" ? [] : [`hint: ${toGuestText(Buffer.from(error.hint)).text}`]),
    ...(error.retryable ? ["the same call may succeed later"] : []),
  ];
  return {
    isError: true,
    content: [{ type: "text", text: lines.join("\n") }],
    _meta: { [META_KEY]: { error: error.toJSON() } },
  };
}

/** A run's state: our words, then the guest's bytes, then the fields for programs. */
export function runResult(record: RunRecord, text: RunText): CallToolResult {
  return {
    content: [
      { type: "text", text: text.words },
      ...(text.guest === "" ? [] : [{ type: "text" as const, text: text.guest }]),
    ],
    _meta: { [META_KEY]: fieldsOf(record, text) },
  };
}

/** Section 6 of the contract, and where to read on. */
function fieldsOf(record: RunRecord, text: RunText): Record<string, unknown> {
  const { output } = record;
  const result = record.state === "done" ? (snakeKeys(record.result) as Record<string, unknown>) : {};
  return {
    run_id: record.runId,
    state: record.state,
    execution_mode: "guest",
    ...result,
    ...(output === null
      ? {}
      : {
          ...streamFields("stdout", output.stdout),
          ...streamFields("stderr", output.stderr),
          offset: output.offset,
          next_offset: text.nextOffset,
          total_bytes: output.totalBytes,
          shown_bytes: text.shownBytes,
        }),
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
