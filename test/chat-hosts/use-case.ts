import { spawn } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const EXAMPLES = join(import.meta.dirname, "../../examples/use-cases");
const PAGES = join(import.meta.dirname, "../../docs/use-cases");

/** The files of a project of the examples, by their paths. */
export function projectFiles(name: string): Readonly<Record<string, string>> {
  const root = join(EXAMPLES, "projects", name);
  const paths = readdirSync(root, { recursive: true, encoding: "utf8" });
  const files = paths.filter((path) => statSync(join(root, path)).isFile());
  return Object.fromEntries(files.sort().map((path) => [path, readFileSync(join(root, path), "utf8")]));
}

/** What a use case runs in, as the examples choose it: USE_CASE_ENVIRONMENT names it. */
export function useCaseEnvironment({ compiler = false } = {}): string {
  const named = process.env["USE_CASE_ENVIRONMENT"] ?? "debian:12";
  return compiler && named === "debian:12" ? "debian:12-build" : named;
}

/** One call of a page: `workspace_exec(workspace_id="fix", command="make test")`. */
export type PageCall = readonly [tool: string, args: Readonly<Record<string, unknown>>];

const ARGUMENT = /(\w+)=("(?:[^"\\]|\\.)*"|\{[^{}]*\}|\[[^\]]*\]|\w+)/g;

/** The calls that a page of docs/use-cases says the agent makes, in order. */
export function callsOf(page: string): PageCall[] {
  const lines = blocksOf(page, "text").join("").trimEnd().split("\n");
  return lines.map((line) => {
    const [, tool = "", list = ""] = /^(\w+)\((.*)\)$/.exec(line) ?? [];
    if (tool === "") throw new Error(`${page} has a line that is no call: ${line}`);
    const args = Array.from(list.matchAll(ARGUMENT), ([, name = "", value = ""]) => [name, parsed(value)]);
    return [tool, Object.fromEntries(args) as Record<string, unknown>];
  });
}

function parsed(value: string): unknown {
  return JSON.parse(value);
}

/** What a page says that its example writes, line by line. */
export function transcriptOf(page: string): string[] {
  const [transcript = ""] = blocksOf(page, "console");
  return sameEachTime(transcript);
}

/**
 * Runs an example as a user would.
 * @returns what it wrote, line by line, without what differs from run to run; rejects where it fails
 */
export async function runExample(name: string, stateDir: string): Promise<string[]> {
  const child = spawn(process.execPath, [join(EXAMPLES, `${name}.mjs`), "--state-dir", stateDir], {
    env: { ...process.env, PYRO_POOL: "0" },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 150_000,
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`the example ${name} ended with ${String(code)}:\n${said}`);
  return sameEachTime(said);
}

/** Lines without the times that tests took, and without the environment, which the user may choose. */
function sameEachTime(text: string): string[] {
  return text
    .replace(/\d+\.\d+s$/gm, "…s")
    .replace(/: \S+, started$/gm, ": …, started")
    .trimEnd()
    .split("\n");
}

/** The blocks of a language in a page of docs/use-cases. */
export function blocksOf(page: string, language: string): string[] {
  const text = readFileSync(join(PAGES, `${page}.md`), "utf8");
  const blocks = text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"));
  return Array.from(blocks, ([, block = ""]) => block);
}
