import type { ByteString } from "../../kit/index.js";

/** A file as lines without their newlines; a carriage return before one stays with the line. */
export interface FileLines {
  readonly lines: readonly ByteString[];
  /** The last line ends in a newline; true of an empty file. */
  readonly finalNewline: boolean;
  /** Most of its newlines are CRLF. */
  readonly crlf: boolean;
}

export function splitLines(content: ByteString): FileLines {
  if (content === "") return { lines: [], finalNewline: true, crlf: false };
  const lines = content.split("\n");
  const finalNewline = lines.at(-1) === "";
  if (finalNewline) lines.pop();
  let returns = 0;
  for (const line of lines) if (line.endsWith("\r")) returns++;
  return { lines, finalNewline, crlf: returns * 2 > lines.length - (finalNewline ? 0 : 1) };
}

export function withoutReturn(line: ByteString): ByteString {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}
