import { visible } from "../operations/index.js";
import type { TerminalWritable } from "./host.js";

/** Shows what goes on, on standard error; `clear` before anything else is written. */
export interface Progress {
  show(message: string, fraction: number | null): void;
  clear(): void;
}

const BAR_CELLS = 24;

/** A line that redraws itself on a terminal; elsewhere plain lines, one per step or tenth. */
export function progressOn(stream: TerminalWritable): Progress {
  return stream.isTTY === true ? drawn(stream) : printed(stream);
}

/** Says nothing. */
export const silentProgress: Progress = { show: () => undefined, clear: () => undefined };

function drawn(stream: TerminalWritable): Progress {
  let shown = false;
  return {
    show: (message, fraction) => {
      const text = visible(fraction === null ? message : `${bar(fraction)} ${message}`);
      stream.write(`\r\u001b[K${text.slice(0, (stream.columns ?? 80) - 1)}`);
      shown = true;
    },
    clear: () => {
      if (shown) stream.write("\r\u001b[K");
      shown = false;
    },
  };
}

function bar(fraction: number): string {
  const full = Math.round(Math.min(Math.max(fraction, 0), 1) * BAR_CELLS);
  return `[${"#".repeat(full)}${".".repeat(BAR_CELLS - full)}] ${String(Math.floor(fraction * 100)).padStart(3)} %`;
}

function printed(stream: TerminalWritable): Progress {
  let last = "";
  return {
    show: (message, fraction) => {
      // Figures change with every message: the words before the first one say which step it is.
      const step = `${message.replace(/\s*\d.*$/s, "")} ${fraction === null ? "" : Math.floor(fraction * 10)}`;
      if (step === last) return;
      last = step;
      const percent = fraction === null ? "" : ` (${Math.floor(fraction * 100)} %)`;
      stream.write(`${visible(`${message}${percent}`)}\n`);
    },
    clear: () => undefined,
  };
}
