import type { IBuffer, IBufferCell, Terminal } from "@xterm/headless";

// What brings another terminal of the same size to the picture of this one. The bytes that made it are not sent again:
// questions among them would be answered by that terminal, and the answers be typed into the shell.

/** The screen, its cursor, and the modes that keys and the mouse go by. */
export function repaint(terminal: Terminal): string {
  const { active, normal } = terminal.buffer;
  const parts = ["\x1b[!p\x1b[0m"];
  if (active.type === "alternate") parts.push(drawn(normal, terminal), "\x1b[?1049h");
  parts.push(drawn(active, terminal), modes(terminal));
  parts.push(`\x1b[0m\x1b[${active.cursorY + 1};${Math.min(active.cursorX, terminal.cols - 1) + 1}H`);
  return parts.join("");
}

function drawn(buffer: IBuffer, { rows, cols }: Terminal): string {
  const lines: string[] = ["\x1b[H\x1b[2J"];
  for (let row = 0; row < rows; row += 1) {
    const line = buffer.getLine(buffer.baseY + row);
    if (line === undefined) continue;
    let last = "";
    let text = "";
    for (let col = 0; col < cols; col += 1) {
      const cell = line.getCell(col);
      // The second half of a wide character.
      if (cell === undefined || cell.getWidth() === 0) continue;
      const look = attributes(cell);
      if (look !== last) text += `\x1b[0${look}m`;
      last = look;
      text += cell.getChars() || " ";
    }
    // Blanks that look like nothing need not be drawn.
    const trimmed = last === "" ? text.trimEnd() : text;
    if (trimmed !== "") lines.push(`\x1b[${row + 1};1H${trimmed}\x1b[0m`);
  }
  return lines.join("");
}

/** The rendition behind a reset: ";1;31". */
function attributes(cell: IBufferCell): string {
  const on = [
    [cell.isBold(), "1"],
    [cell.isDim(), "2"],
    [cell.isItalic(), "3"],
    [cell.isUnderline(), "4"],
    [cell.isBlink(), "5"],
    [cell.isInverse(), "7"],
    [cell.isInvisible(), "8"],
    [cell.isStrikethrough(), "9"],
  ] as const;
  const codes = on.filter(([is]) => is !== 0).map(([, code]) => `;${code}`);
  const front = color(cell.isFgRGB(), cell.isFgPalette(), cell.getFgColor(), "38");
  const back = color(cell.isBgRGB(), cell.isBgPalette(), cell.getBgColor(), "48");
  return [...codes, front, back].join("");
}

function color(isRgb: boolean, isPalette: boolean, value: number, plane: string): string {
  if (isRgb) return `;${plane};2;${(value >> 16) & 255};${(value >> 8) & 255};${value & 255}`;
  return isPalette ? `;${plane};5;${value}` : "";
}

const MOUSE = { none: undefined, x10: 9, vt200: 1000, drag: 1002, any: 1003 } as const;

function modes({ modes: on }: Terminal): string {
  const mouse = MOUSE[on.mouseTrackingMode];
  const wanted = [
    [on.applicationCursorKeysMode, "\x1b[?1h"],
    [on.applicationKeypadMode, "\x1b="],
    [on.bracketedPasteMode, "\x1b[?2004h"],
    [on.sendFocusMode, "\x1b[?1004h"],
    [mouse !== undefined, `\x1b[?${mouse ?? 0}h\x1b[?1006h`],
    [!on.wraparoundMode, "\x1b[?7l"],
  ] as const;
  return wanted.flatMap(([is, sequence]) => (is ? [sequence] : [])).join("");
}
