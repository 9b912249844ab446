/** What begins each generated page. */
export const GENERATED =
  "<!-- Generated from the sources by `make docs-reference`; a test compares. Edit those instead. -->\n";

/** A table of GitHub's Markdown; nothing where there are no rows. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return `${[line(head), `|${head.map(() => "---|").join("")}`, ...rows.map(line)].join("\n")}\n`;
}

/** Text as it is, where Markdown or Vue would read more into it; what is in backticks is code already. */
export function plain(text: string): string {
  return text
    .split(/(`[^`]*`)/)
    .map((part) =>
      part.startsWith("`") ? part : part.replace(/[<*]|(?<!\w)_|_(?!\w)/g, "\\$&").replaceAll("{{", "{ {"),
    )
    .join("");
}

export const code = (text: string): string => `\`${text}\``;

function cell(text: string): string {
  return text.replaceAll("\n", " ").replaceAll("|", "\\|");
}
