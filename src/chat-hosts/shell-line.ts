import { shellWord, withoutCredentials } from "../kit/index.js";

/** Words as one line for a POSIX shell, quoted where needed. */
export function shellLine(words: readonly string[]): string {
  return words.map(shellWord).join(" ");
}

/** Words as they are shown: a URL without the password in it. */
export function shownWords(words: readonly string[]): string[] {
  return words.map((word) => (/:\/\/[^/]*@/.test(word) ? withoutCredentials(word) : word));
}

/** The same as one line. */
export function shownLine(words: readonly string[]): string {
  return shellLine(shownWords(words));
}
