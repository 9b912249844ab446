import type { CallToolResult } from "@modelcontextprotocol/server";
import type * as z from "zod";
import { parseInput } from "../operations/index.js";
import { serviceLogs } from "../operations/workspace/services.js";
import type { ServiceLog } from "../sdk/index.js";
import { fitTail } from "./guest-text.js";
import { bulkResult } from "./result.js";
import { MAX_BYTES_MAX, toolInput, type ToolHandler, type ToolSetting } from "./tool.js";

/** Kept of the text budget for our own words. */
const WORDS_BYTES = 800;

/**
 * `service_logs`: the newest of what a service wrote. Our words first, then one block for each stream that has any: its
 * output, then its errors. The end is kept, and what is left out above it is counted.
 */
export function serviceLogsHandler(setting: ToolSetting): ToolHandler {
  const schema = toolInput(serviceLogs, setting);
  return async (args, { pyro, signal }): Promise<CallToolResult> => {
    const given = parseInput(serviceLogs, schema, args) as z.output<typeof serviceLogs.input>;
    const { workspace_id: workspaceId, service_name: serviceName, tail_lines: tailLines, all } = given;
    const logs = await pyro.logsService({ workspaceId, serviceName, tailLines, all }, { signal });
    const [forStdout, forStderr] = budgets(logs.stdout, logs.stderr, given.max_bytes);
    const stdout = shown("stdout", logs.stdout, forStdout);
    const stderr = shown("stderr", logs.stderr, forStderr);
    const leftOut = stdout.leftOut + stderr.leftOut;
    const more =
      `service_logs(workspace_id=${JSON.stringify(workspaceId)}, service_name=${JSON.stringify(serviceName)}, ` +
      `all=true, max_bytes=${MAX_BYTES_MAX})`;
    const words = [
      `service ${logs.serviceName} is ${logs.state}`,
      stdout.line,
      stderr.line,
      ...(leftOut > 0 && (!all || given.max_bytes < MAX_BYTES_MAX) ? [`next: ${more}`] : []),
    ];
    const result = bulkResult(
      { words: words.join("\n"), guest: stdout.text },
      {
        ...{ workspace_id: logs.workspaceId, service_name: logs.serviceName, state: logs.state },
        ...{ stdout: text(logs.stdout, forStdout), stderr: text(logs.stderr, forStderr) },
        ...{ tail_lines: logs.tailLines, truncated: leftOut > 0 },
        ...{ stdout_bytes: logs.stdout.totalBytes, stderr_bytes: logs.stderr.totalBytes },
        stdout_dropped_bytes: logs.stdout.droppedBytes,
        stderr_dropped_bytes: logs.stderr.droppedBytes,
      },
    );
    if (stderr.text !== "") result.content.push({ type: "text", text: stderr.text });
    return result;
  };
}

/** Half of the room for each stream, and what one does not need for the other. */
function budgets(stdout: ServiceLog, stderr: ServiceLog, budgetBytes: number): readonly [number, number] {
  const room = budgetBytes >= 2 * WORDS_BYTES ? budgetBytes - WORDS_BYTES : budgetBytes;
  const half = Math.floor(room / 2);
  const small = Math.min(stdout.data.length, stderr.data.length, half);
  return stdout.data.length <= stderr.data.length ? [small, room - small] : [room - small, small];
}

function shown(
  name: string,
  log: ServiceLog,
  budgetBytes: number,
): { readonly line: string; readonly text: string; readonly leftOut: number } {
  const { totalBytes, droppedBytes } = log;
  if (totalBytes === 0) return { line: `${name}: nothing`, text: "", leftOut: 0 };
  const { text: newest, rawBytes, removed, escaped } = fitTail(log.data, budgetBytes);
  const leftOut = totalBytes - rawBytes;
  const notes = [
    leftOut === 0
      ? `${totalBytes} bytes, all below`
      : `${totalBytes} bytes, the last ${rawBytes} of them below`,
    ...(droppedBytes === 0 ? [] : [`the first ${droppedBytes} are not kept`]),
    ...(removed === 0 ? [] : [`${removed} control characters and escape sequences were removed`]),
    ...(escaped === 0 ? [] : [`${escaped} invisible characters are shown as \\u{…}`]),
  ];
  return { line: `${name}: ${notes.join("; ")}`, text: newest, leftOut };
}

/** For programs: the same end, as it came. */
function text({ data }: ServiceLog, budgetBytes: number): string {
  return Buffer.from(data.subarray(Math.max(0, data.length - budgetBytes))).toString();
}
