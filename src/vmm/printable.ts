/**
 * Text of a guest or a tool, made safe for a message: no control characters (a terminal would obey them) and no
 * invisible or reordering ones. Newlines and tabs stay.
 */
export function printable(text: string): string {
  return (
    text
      .replaceAll(/\r\n?/g, "\n")
      // CSI and OSC sequences as a whole, so that "\x1b[31m" does not leave "[31m" behind.
      .replaceAll(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)/g, "")
      .replaceAll(/[^\P{C}\n\t]/gu, "")
  );
}

/** The last `count` lines that say something. */
export function lastLines(text: string, count: number): string {
  const lines = printable(text)
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => line !== "");
  return lines.slice(-count).join("\n");
}
