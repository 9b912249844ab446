import { existsSync, readdirSync, readFileSync } from "node:fs";

/** The order in which the pages teach; a folder stands for all that is in it. */
const GROUPS = [
  ["Begin", ["install", "first-run", "host-requirements"]],
  ["Use cases", ["use-cases"]],
  ["Integrations", ["plugins", "integrations", "integrations-frameworks", "mcp-over-http"]],
  ["Go further", ["environments", "host-network"]],
  ["Reference", ["reference/cli", "reference/mcp-tools", "reference/sdk", "limitations", "troubleshooting"]],
  ["About", ["security", "benchmarks", "vision"]],
];

/** A folder's own page; README.md is the name that a reader of the repository looks for. */
const OWN = ["index.md", "README.md"];

/** The groups with the pages that there are. A page that no group names stands in the last one, so that none is lost. */
export function sidebar(docs) {
  const seen = new Set();
  const groups = GROUPS.map(([text, names]) => ({
    text,
    items: names
      .flatMap((name) => pagesOf(docs, name))
      .filter(({ link }) => !seen.has(link) && seen.add(link)),
  }));
  const rest = pagesIn(docs, "").filter(({ link }) => !seen.has(link) && link !== "/");
  return [...groups, { text: "More", items: rest }].filter(({ items }) => items.length > 0);
}

function pagesOf(docs, name) {
  const own = existsSync(new URL(`${name}.md`, docs)) ? [page(docs, `${name}.md`)] : [];
  return [...own, ...(existsSync(new URL(`${name}/`, docs)) ? pagesIn(docs, `${name}/`) : [])];
}

function pagesIn(docs, folder) {
  const names = readdirSync(new URL(folder || ".", docs)).filter(
    (name) => name.endsWith(".md") && !name.startsWith("."),
  );
  // A folder's own page stands before what is in it.
  const isOwn = (name) => Number(OWN.includes(name));
  names.sort((a, b) => isOwn(b) - isOwn(a) || a.localeCompare(b));
  return names.map((name) => page(docs, `${folder}${name}`));
}

function page(docs, path) {
  const text = readFileSync(new URL(path, docs), "utf8");
  const short = /^sidebar: (.+)$/m.exec(/^---\n[\s\S]*?\n---/.exec(text)?.[0] ?? "")?.[1];
  // Of a title with an explanation the part before it.
  const title = short ?? /^# (.+?)(: |, with |$)/m.exec(text)?.[1] ?? path;
  return {
    text: title.replaceAll("`", ""),
    link: `/${path.replace(/(^|\/)(?:index|README)\.md$|\.md$/, "$1")}`,
  };
}
