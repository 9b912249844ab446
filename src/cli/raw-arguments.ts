/**
 * The true bytes of arguments. Node decodes argv as UTF-8 and puts U+FFFD where a byte is none; the kernel still has
 * what was passed. Words are asked for in the order in which they stood, each once.
 */
export class RawArguments {
  readonly #words: { readonly bytes: Buffer; readonly text: string }[];

  constructor(raw: readonly Uint8Array[]) {
    this.#words = raw.map((bytes) => ({
      bytes: Buffer.from(bytes),
      text: Buffer.from(bytes).toString("utf8"),
    }));
  }

  /** The bytes of the next word that is `text`, or ends with it as `--option=text` does. */
  take(text: string): string | Uint8Array {
    if (!text.includes("\ufffd")) return text;
    const at = this.#words.findIndex(
      (word) => word.text === text || (word.text.startsWith("--") && word.text.endsWith(`=${text}`)),
    );
    const found = this.#words[at];
    if (found === undefined) return text;
    this.#words.splice(0, at + 1);
    return found.text === text ? found.bytes : found.bytes.subarray(found.bytes.indexOf("=") + 1);
  }
}

/** The arguments of this process as the kernel holds them: the last `count` words of its command line. */
export function kernelArguments(commandLine: Uint8Array, count: number): Uint8Array[] {
  if (count === 0) return [];
  const words: Uint8Array[] = [];
  let start = 0;
  for (let at = commandLine.indexOf(0); at >= 0; at = commandLine.indexOf(0, start)) {
    words.push(commandLine.subarray(start, at));
    start = at + 1;
  }
  return words.slice(-count);
}
