import type * as z from "zod";
import { parseInput } from "../operations/index.js";
import { shellRead, toShellOutputView } from "../operations/workspace/shells.js";
import type { ShellOutput } from "../sdk/index.js";
import { toGuestText } from "./guest-text.js";
import { bulkResult } from "./result.js";
import { ANSWER_MS, toolInput, type ToolHandler, type ToolSetting } from "./tool.js";
import { windowText } from "./window-text.js";

/** Kept of the text's bound for our own words. */
const WORDS_BYTES = 800;

/** `shell_read`: what a terminal showed, or what a person would see on it. */
export function shellReadHandler(setting: ToolSetting): ToolHandler {
  const schema = toolInput(shellRead, setting);
  return async (args, { pyro, signal, blockMs }) => {
    const given = parseInput(shellRead, schema, args) as z.output<(typeof shellRead)["input"]>;
    const { workspace_id: workspaceId, shell_id: shellId, cursor, max_chars: maxChars, plain } = given;
    const read = await pyro.readShell(
      {
        ...{ workspaceId, shellId, cursor, maxChars, plain, waitForIdleMs: given.wait_for_idle_ms },
        waitMs: Math.max(1, blockMs - 2 * ANSWER_MS),
      },
      { signal },
    );
    const shown = plain ? screenText(read, maxChars) : rawText(read, maxChars);
    const place = `workspace_id=${JSON.stringify(workspaceId)}, shell_id=${JSON.stringify(shellId)}`;
    const next = `next: shell_read(${place}, cursor=${shown.nextCursor}${plain ? ", plain=true" : ""}, wait_for_idle_ms=1000)`;
    const more = read.state === "running" || shown.nextCursor < read.totalBytes;
    const words = [stateText(read), ...shown.lines, ...(more ? [next] : [])].join("\n");
    const view = toShellOutputView(read);
    return bulkResult(
      { words, guest: shown.guest },
      { ...view, next_cursor: shown.nextCursor, truncated: view.truncated || shown.isCut },
    );
  };
}

/** What of a read is shown. */
interface Shown {
  readonly lines: readonly string[];
  readonly guest: string;
  readonly nextCursor: number;
  readonly isCut: boolean;
}

/** Bytes from the cursor on, in order: what does not fit comes with the next call. */
function rawText({ data, cursor, droppedBytes, totalBytes, nextCursor }: ShellOutput, budget: number): Shown {
  const offset = nextCursor - data.length;
  const window = { offset, head: data, cutBytes: 0, tail: new Uint8Array(), totalBytes, droppedBytes: 0 };
  // The call that reads on is named once, below.
  const { lines, ...text } = windowText(window, budget, { what: "output", readOn: () => "" });
  const gone = droppedBytes === 0 ? [] : [`${droppedBytes} bytes after byte ${cursor} are not kept any more`];
  const said = lines.filter((line) => line !== "next: ");
  return {
    lines: [...said, ...gone],
    guest: text.guest,
    nextCursor: text.nextOffset,
    isCut: text.shownBytes < data.length,
  };
}

/** The newest lines that fit, as a person would see them. */
function screenText({ data, nextCursor, truncated }: ShellOutput, budget: number): Shown {
  const safe = toGuestText(data);
  const room = budget >= 2 * WORDS_BYTES ? budget - WORDS_BYTES : budget;
  const lines = safe.text.split("\n");
  let bytes = Buffer.byteLength(safe.text);
  let from = 0;
  for (; bytes > room && from < lines.length - 1; from += 1)
    bytes -= Buffer.byteLength(lines[from] ?? "") + 1;
  const isCut = from > 0;
  const escaped = safe.escaped === 0 ? [] : [`${safe.escaped} invisible characters are shown as \\u{…}`];
  const guest = lines.slice(from).join("\n");
  const what =
    guest === "" ? "screen: empty" : "screen: lines scrolled off since the cursor, then the screen, below";
  const older = isCut || truncated ? ["older lines are left out"] : [];
  return { lines: [what, ...older, ...escaped], guest, nextCursor, isCut };
}

/** How the shell is, first of all. */
function stateText({ state, exitCode, signal, idle }: ShellOutput): string {
  if (signal !== null) return `killed ${signal}`;
  if (exitCode !== null) return `exit ${exitCode}`;
  if (idle === "input") return "running, waits for input";
  if (idle === "quiet") return "running, quiet";
  if (idle === "timeout") return "running, not quiet yet";
  return state;
}
