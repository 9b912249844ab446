import { withoutCredentials } from "../kit/index.js";

/** Words as one line for a POSIX shell, quoted where needed. */
export function shellLine(words: readonly string[]): string {
  return words.map(quoted).join(" ");
}

/** Words as they are shown: a URL without the password in it. */
export function shownWords(words: readonly string[]): string[] {
  return words.map((word) => (/:\/\/[^/]*@/.test(word) ? withoutCredentials(word) : word));
}

/** The same as one line. */
export function shownLine(words: readonly string[]): string {
  return shellLine(shownWords(words));
}

function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
