/**
 * Words of a Dockerfile: quotes, escapes, and variables ($NAME, ${NAME}, ${NAME:-word}, ${NAME:+word}), as Docker's own
 * reference has them. Faults are plain Errors, in words that go after the line.
 */

const NAME = /^[A-Za-z_][A-Za-z0-9_]*/;

/** Parts between spaces outside of quotes, each as it was written. */
export function splitWords(text: string, escape: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === escape && quote !== "'" && at + 1 < text.length) {
      word += character + text.charAt((at += 1));
    } else if (quote === "" && /\s/.test(character)) {
      if (word !== "") words.push(word);
      word = "";
    } else {
      if (quote === "" ? character === "'" || character === '"' : character === quote)
        quote = quote === "" ? character : "";
      word += character;
    }
  }
  if (quote !== "") throw new Error(`a quote ${quote} is not closed`);
  if (word !== "") words.push(word);
  return words;
}

/** A word without its quotes, with its variables put in; one that is not known is empty. */
export function expandWord(text: string, variables: ReadonlyMap<string, string>, escape: string): string {
  let result = "";
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    const next = text.charAt(at + 1);
    if (quote === "'") {
      if (character === "'") quote = "";
      else result += character;
    } else if (character === escape && next !== "" && (quote === "" || `"$${escape}`.includes(next))) {
      result += next;
      at += 1;
    } else if (character === '"' || (character === "'" && quote === "")) {
      quote = quote === "" ? character : "";
    } else if (character === "$") {
      const { value, length } = variableAt(text.slice(at), variables, escape);
      result += value;
      at += length - 1;
    } else {
      result += character;
    }
  }
  return result;
}

/** What stands at a "$", and how long it is. */
function variableAt(
  text: string,
  variables: ReadonlyMap<string, string>,
  escape: string,
): { value: string; length: number } {
  const plain = NAME.exec(text.slice(1))?.[0];
  if (plain !== undefined) return { value: variables.get(plain) ?? "", length: plain.length + 1 };
  if (text.charAt(1) !== "{") return { value: "$", length: 1 };
  const end = closingBrace(text);
  if (end < 0) throw new Error("${ is not closed");
  const inner = text.slice(2, end);
  const name = NAME.exec(inner)?.[0] ?? "";
  const rest = inner.slice(name.length);
  const value = variables.get(name) ?? "";
  const length = end + 1;
  if (name !== "" && rest === "") return { value, length };
  const other = (): string => expandWord(rest.slice(2), variables, escape);
  if (name !== "" && rest.startsWith(":-")) return { value: value === "" ? other() : value, length };
  if (name !== "" && rest.startsWith(":+")) return { value: value === "" ? "" : other(), length };
  throw new Error(`\${${inner}} is no form of a variable that is known here`);
}

function closingBrace(text: string): number {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text.startsWith("${", at)) depth += 1;
    if (text.charAt(at) === "}" && (depth -= 1) === 0) return at;
  }
  return -1;
}
