/**
 * The simple commands of a piece of shell, as words: quotes are taken off, comments and redirections left out, variables
 * stay as they are written. What stands in `$(…)` is commands too. Enough of the shell for what pages show, no more.
 */
export function shellCommands(script: string): readonly (readonly string[])[] {
  return new Reader(withoutHereDocuments(script)).commands();
}

/** What was typed in a transcript: the lines behind "$ " with the lines that go on. */
export function typedIn(transcript: string): string {
  const typed: string[] = [];
  let goesOn = false;
  for (const line of transcript.split("\n")) {
    if (goesOn) typed.push(line.replace(/^> /, ""));
    else if (line.startsWith("$ ")) typed.push(line.slice(2));
    else continue;
    goesOn = line.endsWith("\\");
  }
  return typed.join("\n");
}

function withoutHereDocuments(script: string): string {
  return script.replace(/<<-?\s*(['"]?)(\w+)\1([^\n]*)\n[\s\S]*?\n\s*\2(?=\n|$)/g, "$3");
}

const SEPARATORS = /^(&&|\|\||[;|&\n()])/;

class Reader {
  readonly #text: string;
  #at = 0;
  #found: string[][] = [];
  #words: string[] = [];

  constructor(text: string) {
    this.#text = text.replace(/\\\n\s*/g, " ");
  }

  commands(): readonly (readonly string[])[] {
    while (this.#at < this.#text.length) {
      const rest = this.#text.slice(this.#at);
      const separator = SEPARATORS.exec(rest)?.[0];
      const redirection = /^\d*(>>?|<)(&\d|\s*)/.exec(rest)?.[0];
      if (separator !== undefined) {
        this.#end();
        this.#at += separator.length;
      } else if (rest.startsWith("#")) this.#at += rest.search(/\n|$/);
      else if (/^[ \t]/.test(rest)) this.#at++;
      else if (redirection !== undefined) {
        this.#at += redirection.length;
        if (!redirection.includes("&")) this.#word();
      } else this.#words.push(this.#word());
    }
    this.#end();
    return this.#found;
  }

  #end(): void {
    if (this.#words.length > 0) this.#found.push(this.#words);
    this.#words = [];
  }

  #word(): string {
    let word = "";
    for (;;) {
      const char = this.#text[this.#at];
      if (char === undefined || /[\s;|&<>()]/.test(char)) return word;
      if (char === "'") word += this.#until("'");
      else if (char === '"') word += this.#quoted();
      else if (this.#text.startsWith("$(", this.#at)) word += this.#substitution();
      else {
        if (char === "\\") this.#at++;
        word += this.#text[this.#at++] ?? "";
      }
    }
  }

  #until(mark: string): string {
    const end = this.#text.indexOf(mark, this.#at + 1);
    if (end < 0) throw new Error(`a quote is not closed: ${this.#text.slice(this.#at, this.#at + 40)}`);
    const inner = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return inner;
  }

  #quoted(): string {
    let inner = "";
    this.#at++;
    while (this.#text[this.#at] !== '"') {
      if (this.#at >= this.#text.length) throw new Error(`a quote is not closed: ${inner.slice(0, 40)}`);
      if (this.#text.startsWith("$(", this.#at)) inner += this.#substitution();
      else {
        if (this.#text[this.#at] === "\\") this.#at++;
        inner += this.#text[this.#at++] ?? "";
      }
    }
    this.#at++;
    return inner;
  }

  /** Commands within; the word that they give is not known. */
  #substitution(): string {
    const end = this.#text.indexOf(")", this.#at);
    if (end < 0) throw new Error("$( is not closed");
    this.#found.push(
      ...new Reader(this.#text.slice(this.#at + 2, end)).commands().map((words) => [...words]),
    );
    this.#at = end + 1;
    return "SUBSTITUTED";
  }
}
