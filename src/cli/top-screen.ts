/** How large a terminal is, in characters. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

const HOME = "\u001b[H";
const TO_END_OF_LINE = "\u001b[K";
const TO_END_OF_SCREEN = "\u001b[J";

/**
 * Lines as one screen, drawn over the last one without clearing it first: nothing flickers. What does not fit is cut,
 * lines at the right and the list at the bottom, where how many are missing is said. A terminal that is told nothing in
 * its last column does not wrap.
 */
export function screenOf(lines: readonly string[], { columns, rows }: ScreenSize): string {
  const width = Math.max(1, columns - 1);
  const height = Math.max(1, rows - 1);
  const missing = lines.length - height;
  const shown = missing > 0 ? [...lines.slice(0, height - 1), `… and ${missing + 1} more`] : lines;
  const cut = shown.map((line) => `${fit(line, width)}${TO_END_OF_LINE}`);
  return `${HOME}${cut.join("\r\n")}\r\n${TO_END_OF_SCREEN}`;
}

/** Cut at a width, with a mark. Characters that are two columns wide may be cut sooner, never wrapped. */
function fit(line: string, width: number): string {
  let used = 0;
  let text = "";
  // The last character that fits gives way to the mark.
  let beforeLast = 0;
  for (const character of line) {
    const columns = isWide(character) ? 2 : 1;
    if (used + columns > width) return `${text.slice(0, beforeLast)}…`;
    beforeLast = text.length;
    used += columns;
    text += character;
  }
  return text;
}

/** East Asian scripts and pictures take two columns on every terminal in use; a guess too many costs a column. */
function isWide(character: string): boolean {
  return /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f000}-\u{3fffd}]/u.test(
    character,
  );
}
