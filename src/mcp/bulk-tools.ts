import { isUtf8 } from "node:buffer";
import type { CallToolResult } from "@modelcontextprotocol/server";
import type * as z from "zod";
import { parseInput, snakeKeys } from "../operations/index.js";
import { toWorkspaceCommandView } from "../operations/workspace/record.js";
import { workspaceDiff } from "../operations/workspace/transfers.js";
import { workspaceDiskRead } from "../operations/workspace/disk.js";
import { workspaceFileRead } from "../operations/workspace/files.js";
import { workspaceExec, workspaceLogs } from "../operations/workspace/exec.js";
import { LIMITS } from "../protocol/index.js";
import { completeUtf8Prefix, type Pyro, type WorkspaceCommandRecord } from "../sdk/index.js";
import { commandText, commandKey } from "./command-text.js";
import { bulkResult, windowFields } from "./result.js";
import type { TimeLimits } from "./time-limits.js";
import { ANSWER_MS, toolInput, type ToolCall, type ToolHandler, type ToolSetting } from "./tool.js";
import { windowText, type TextWindow } from "./window-text.js";

/** The longest single wait on the daemon: progress is told in between. */
const SLICE_MS = 2_500;
const CANCEL_MS = 5_000;
/** How long after the signal it is known whether the caller only cancelled or went away. */
const LEFT_MS = 100;
/** Entries of a diff in the fields for programs. */
const ENTRIES_MAX = 1_000;
const REPLACEMENT = "\u{fffd}";
const NOT_UTF8 = `some bytes are no UTF-8 and are shown as ${REPLACEMENT}: workspace_export brings the file as it is`;

type Given<Declaration extends { input: z.ZodObject }> = z.output<Declaration["input"]>;

/** `workspace_exec`: starts a command and waits for its end, never longer than the bound; it goes on. */
export function execHandler(setting: ToolSetting, limits: TimeLimits): ToolHandler {
  const schema = toolInput(workspaceExec, setting);
  return async (args, call) => {
    const given = parseInput(workspaceExec, schema, args) as Given<typeof workspaceExec>;
    const end = performance.now() + call.blockMs - ANSWER_MS;
    // Without the signal: a command whose number nobody learns could not be ended.
    const started = await call.pyro.execWorkspace(
      {
        ...{ workspaceId: given.workspace_id, command: given.command, argv: given.argv },
        ...{ cwd: given.cwd, env: given.env, timeoutSeconds: given.timeout_seconds },
        secretEnv: given.secret_env,
        waitMs: Math.max(0, Math.min(SLICE_MS, call.blockMs - ANSWER_MS)),
        maxBytes: LIMITS.mcpTextBytes,
      },
      { timeoutMs: call.blockMs },
    );
    limits.remember(commandKey(started), given.timeout_seconds);
    try {
      call.signal.throwIfAborted();
      const at = { offset: 0, maxBytes: LIMITS.mcpTextBytes };
      return commandResult(await follow(started, at, end, call), LIMITS.mcpTextBytes, limits);
    } catch (error) {
      if (call.signal.aborted) await endIfCancelled(started, call);
      throw error;
    }
  };
}

/** `workspace_logs` with a sequence: waits for a command, and pages its output. */
export function logsHandler(setting: ToolSetting, limits: TimeLimits, listAll: ToolHandler): ToolHandler {
  const schema = toolInput(workspaceLogs, setting);
  return async (args, call) => {
    const given = parseInput(workspaceLogs, schema, args) as Given<typeof workspaceLogs>;
    const { workspace_id: workspaceId, sequence, offset, max_bytes: maxBytes } = given;
    if (sequence === undefined) return await listAll(args, call);
    const now = performance.now();
    const end = now + Math.min(given.wait_seconds * 1000, call.blockMs - ANSWER_MS);
    const read = { workspaceId, sequence, offset, maxBytes };
    const first = await call.pyro.logsWorkspace(read, { signal: call.signal });
    return commandResult(await follow(first, { offset, maxBytes }, end, call), maxBytes, limits);
  };
}

/** `workspace_file_read`: the beginning and the end of what there is from `offset` on. */
export function fileReadHandler(setting: ToolSetting): ToolHandler {
  return readHandler(workspaceFileRead, setting, (pyro) => (at, call) => pyro.readWorkspaceFile(at, call));
}

/** `workspace_disk_read`, likewise. */
export function diskReadHandler(setting: ToolSetting): ToolHandler {
  return readHandler(workspaceDiskRead, setting, (pyro) => (at, call) => pyro.readWorkspaceDisk(at, call));
}

function readHandler(
  declaration: typeof workspaceFileRead,
  setting: ToolSetting,
  reader: (pyro: Pyro) => Pyro["readWorkspaceFile"],
): ToolHandler {
  const schema = toolInput(declaration, setting);
  return async (args, { pyro, signal }) => {
    const given = parseInput(declaration, schema, args) as Given<typeof workspaceFileRead>;
    const { workspace_id: id, path, offset, max_bytes: maxBytes } = given;
    const read = async (from: number, length: number) =>
      await reader(pyro)({ workspaceId: id, path, offset: from, maxBytes: Math.max(1, length) }, { signal });
    const first = await read(offset, maxBytes);
    const { sizeBytes: size } = first;
    const half = Math.ceil(maxBytes / 2);
    const tailFrom = Math.max(offset + half, size - half);
    const parts = first.truncated
      ? { head: first.data.subarray(0, half), tail: (await read(tailFrom, half)).data }
      : { head: first.data, tail: new Uint8Array() };
    const cutBytes = first.truncated ? tailFrom - offset - half : 0;
    const text = windowText({ ...parts, cutBytes, offset, totalBytes: size, droppedBytes: 0 }, maxBytes, {
      what: "file",
      readOn: (at) =>
        `${declaration.name}(${quoted("workspace_id", id)}, ${quoted("path", path)}, offset=${at})`,
    });
    const content = Buffer.from(parts.head).toString();
    const replaced = text.guest.includes(REPLACEMENT) && !isUtf8(completeUtf8Prefix(first.data));
    const lineEnds = lineEndsOf([parts.head, parts.tail]);
    const words = [...text.lines, ...LINE_ENDS[lineEnds], ...(replaced ? [NOT_UTF8] : [])];
    return bulkResult(
      { words: words.join("\n"), guest: text.guest },
      {
        ...{ path, content, size_bytes: size, truncated: text.shownBytes < size - offset, offset, replaced },
        ...{ next_offset: text.nextOffset, shown_bytes: text.shownBytes, line_ends: lineEnds },
      },
    );
  };
}

/** What text for a model does not show, and whoever edits the file should know. */
const LINE_ENDS = {
  crlf: ["line ends: CRLF, not shown; workspace_file_edit takes LF for them, and keeps them"],
  mixed: ["line ends: CRLF and LF, not told apart below; edit within single lines"],
  lf: [],
} as const;

function lineEndsOf(parts: readonly Uint8Array[]): keyof typeof LINE_ENDS {
  // Of an LF that a part begins with, the CR may have been left out.
  const texts = parts.map((part) => Buffer.from(part).toString("latin1").replace(/^\n/, ""));
  const count = (end: RegExp): number => texts.join(" ").match(end)?.length ?? 0;
  const withCr = count(/\r\n/g);
  if (withCr === 0) return "lf";
  return withCr === count(/\n/g) ? "crlf" : "mixed";
}

/** `workspace_diff`: counts in our words, the patch as the guest's. */
export function diffHandler(setting: ToolSetting): ToolHandler {
  const schema = toolInput(workspaceDiff, setting);
  return async (args, { pyro, signal }) => {
    const given = parseInput(workspaceDiff, schema, args) as Given<typeof workspaceDiff>;
    const { workspace_id: id, path, offset, max_bytes: maxBytes } = given;
    const diff = await pyro.diffWorkspace(
      { workspaceId: id, path, offset, maxBytes: LIMITS.patchBytes },
      { signal },
    );
    const { workspaceId, changed, summary, entries, patch, patchBytes } = diff;
    const window: TextWindow = {
      ...{ offset, head: patch, tail: new Uint8Array(), totalBytes: patchBytes, droppedBytes: 0 },
      cutBytes: Math.max(0, patchBytes - offset - patch.length),
    };
    const below = path === "" ? "" : `, ${quoted("path", path)}`;
    const text = windowText(window, maxBytes, {
      what: "diff",
      readOn: (at) => `workspace_diff(${quoted("workspace_id", workspaceId)}${below}, offset=${at})`,
    });
    const { added, modified, deleted, renamed, binary, insertions, deletions } = summary;
    const counts = `${added} added, ${modified} modified, ${deleted} deleted, ${renamed} renamed`;
    const first = changed
      ? `${entries.length} changed: ${counts}; +${insertions} -${deletions}${binary === 0 ? "" : `, ${binary} binary`}`
      : "nothing changed";
    return bulkResult(
      { words: [first, ...(changed ? text.lines : [])].join("\n"), guest: text.guest },
      {
        ...{ workspace_id: workspaceId, changed, summary: snakeKeys(summary) },
        ...{ entries: entries.slice(0, ENTRIES_MAX).map(snakeKeys), entry_count: entries.length },
        ...{ patch: Buffer.from(patch.subarray(0, maxBytes)).toString(), patch_bytes: patchBytes },
        ...{ truncated: text.shownBytes < patchBytes - offset, offset, next_offset: text.nextOffset },
      },
    );
  };
}

/** Reads the command until it ended or the time is over. */
async function follow(
  command: WorkspaceCommandRecord,
  window: { readonly offset: number; readonly maxBytes: number },
  end: number,
  { pyro, signal, onProgress }: ToolCall,
): Promise<WorkspaceCommandRecord> {
  const { workspaceId, sequence } = command;
  let record = command;
  while (record.state === "running" && performance.now() < end) {
    onProgress(`command ${sequence} runs`);
    const waitMs = Math.max(0, Math.min(Math.round(end - performance.now()), SLICE_MS));
    record = await pyro.logsWorkspace({ workspaceId, sequence, ...window, waitMs }, { signal });
  }
  return record;
}

/** A cancelled command ends with all it started; one whose caller only went away is there for the next one. */
async function endIfCancelled(
  { workspaceId, sequence }: WorkspaceCommandRecord,
  { pyro, isLeft }: { readonly pyro: Pyro; readonly isLeft: () => boolean },
): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, LEFT_MS));
  if (isLeft()) return;
  await pyro.cancelWorkspaceCommand(workspaceId, sequence, { timeoutMs: CANCEL_MS }).catch(() => undefined);
}

function commandResult(
  record: WorkspaceCommandRecord,
  budgetBytes: number,
  limits: TimeLimits,
): CallToolResult {
  const text = commandText(record, budgetBytes, limits.of(commandKey(record)));
  const { environment = null, isolation = null } = record.result ?? {};
  return bulkResult(text, {
    ...toWorkspaceCommandView(record),
    ...{ environment, isolation, execution_mode: "guest" },
    ...windowFields(record.output, text),
  });
}

function quoted(name: string, value: string): string {
  return `${name}=${JSON.stringify(value)}`;
}
