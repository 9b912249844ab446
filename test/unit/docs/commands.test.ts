import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse as parseJsonc, type ParseError } from "jsonc-parser";
import { parse as parseToml } from "smol-toml";
import { beforeAll, expect, test } from "vitest";
import { readCommandLine } from "../../../src/cli/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { allBlocks, pages, ROOT, type Block } from "./markdown.js";
import { shellCommands, typedIn } from "./shell-commands.js";
import { toolCallProblem } from "./tool-calls.js";

/** Programs that are not ours: what they are told is theirs to prove. Whoever adds one says what it is. */
const FOREIGN: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    "base64 cat cd chmod cp curl date du echo env exec export file grep head jq ls mkdir mv openssl printf python3 rm sed sh sleep ss tar test ulimit umask tee"
      .split(" ")
      .map((program) => [program, "of every Linux"]),
  ),
  ...Object.fromEntries(
    "apk apt apt-get dnf nix-env pacman update-ca-certificates usermod zypper wsl systemctl"
      .split(" ")
      .map((program) => [program, "changes the host"]),
  ),
  ...Object.fromEntries(
    "git go node npm npx pip uv uvx curl ssh".split(" ").map((program) => [program, "a developer's tool"]),
  ),
  ...Object.fromEntries(
    "docker podman skopeo buildah".split(" ").map((program) => [program, "another container tool"]),
  ),
  ...Object.fromEntries("ollama".split(" ").map((program) => [program, "a server of models"])),
  ...Object.fromEntries(
    "./check tally"
      .split(" ")
      .map((program) => [program, "of an example's project, or typed in its terminal"]),
  ),
  ...Object.fromEntries(
    "claude codex opencode".split(" ").map((program) => [program, "a chat host; what follows -- is checked"]),
  ),
};

/** Languages of blocks that hold nothing to check here, and where it is checked. */
const UNCHECKED: Readonly<Record<string, string>> = {
  "": "drawings",
  indented: "drawings, output and settings; commands of ours that begin a line are checked",
  dockerfile: "files of the user: test/unit/build proves what is taken",
  Dockerfile: "files of the user: test/unit/build proves what is taken",
  diff: "files of the user",
  python: "programs of other people's languages: their own tests run them",
  ini: "files of the host's",
  nginx: "files of the host's",
};

let blocks: readonly Block[];
beforeAll(async () => {
  blocks = await allBlocks();
});

const of = (...languages: string[]): Block[] => blocks.filter(({ language }) => languages.includes(language));
const place = ({ page, line }: Block): string => `${page}:${line}`;

test("every block of every page is of a language that is checked here, or that says why not", () => {
  const known = ["sh", "console", "text", "toml", "json", "jsonc", "ts", "js", ...Object.keys(UNCHECKED)];
  const strange = blocks.filter(({ language }) => !known.includes(language));
  expect(strange.map((block) => `${place(block)} ${block.language}`)).toEqual([]);
});

test("every pyro command that a page shows is one that this version takes", async () => {
  const problems: string[] = [];
  let checked = 0;
  for (const block of of("sh", "console", "indented")) {
    for (const words of commandsOf(block)) {
      const argv = pyroWords(words);
      if (argv === undefined) continue;
      checked++;
      const problem = await usageProblem(argv);
      if (problem !== undefined) problems.push(`${place(block)}: ${words.join(" ")}\n    ${problem}`);
    }
  }
  expect(problems.join("\n")).toBe("");
  expect(checked).toBeGreaterThan(200);
});

test("every pyro command within a sentence has words and options that there are", async () => {
  const problems: string[] = [];
  let checked = 0;
  for (const page of await pages()) {
    const text = (await readFile(join(ROOT, page), "utf8")).replace(/^(```|~~~)[\s\S]*?^\1/gm, "");
    for (const [, span = ""] of text.matchAll(/`(pyro [^`]+)`/g)) {
      // Any of them.
      const words = (shellCommands(span)[0] ?? []).map((word) => (word === "HOST" ? "claude-code" : word));
      const problem = await usageProblem(words.slice(1));
      checked++;
      // A sentence leaves out what it is not about.
      if (
        problem !== undefined &&
        !/missing required argument|argument missing|needs one of|Too small|Invalid input: expected/.test(
          problem,
        )
      )
        problems.push(`${page}: ${span}\n    ${problem}`);
    }
  }
  expect(problems.join("\n")).toBe("");
  expect(checked).toBeGreaterThan(50);
});

test("what recordings type is what this version takes, and none is large", async () => {
  const folder = join(ROOT, "docs/public/recordings");
  const names = (await readdir(folder)).filter((name) => name.endsWith(".svg"));
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) {
    const svg = await readFile(join(folder, name), "utf8");
    expect(svg.length, name).toBeLessThan(200_000);
    expect(svg, name).not.toMatch(/<script|href="(?!#)|url\(/);
    const typed = (/<title>(.*)<\/title>/.exec(svg)?.[1] ?? "")
      .replaceAll("&lt;", "<")
      .replaceAll("&gt;", ">")
      .replaceAll("&amp;", "&");
    const ours = shellCommands(typed).flatMap((words) => pyroWords(words) ?? []);
    expect(ours.length, name).toBeGreaterThan(0);
    for (const words of shellCommands(typed)) {
      const argv = pyroWords(words);
      if (argv !== undefined) expect(await usageProblem(argv), words.join(" ")).toBe(undefined);
    }
  }
});

test("a page shows no program that nobody has looked at", () => {
  const strange = of("sh", "console").flatMap((block) =>
    commandsOf(block)
      .filter((words) => pyroWords(words) === undefined && !["make", undefined].includes(program(words)))
      .filter((words) => !((program(words) ?? "") in FOREIGN))
      .map((words) => `${place(block)}: ${words.join(" ")}`),
  );
  expect(strange).toEqual([]);
});

test("every make target that a page shows is in the Makefile", async () => {
  const makefile = await readFile(join(ROOT, "Makefile"), "utf8");
  const useCases = /^USE_CASES := (.*)$/m.exec(makefile)?.[1]?.split(" ") ?? [];
  const targets = new Set([
    ...useCases,
    ...[...makefile.matchAll(/^([a-z][\w-]*):/gm)].map(([, target]) => target),
  ]);
  const shown = of("sh", "console")
    .flatMap(commandsOf)
    .filter((words) => program(words) === "make");
  const texts = await Promise.all((await pages()).map((page) => readFile(join(ROOT, page), "utf8")));
  const inline = texts.flatMap((text) =>
    [...text.matchAll(/`make ([a-z][\w-]*)/g)].map(([, target]) => target ?? ""),
  );
  const named = [...shown.flatMap((words) => words.slice(words.indexOf("make") + 1)), ...inline];
  // `make check` in a workspace is of the user's own project.
  const missing = named.filter((target) => /^[a-z][\w-]*$/.test(target) && !targets.has(target));
  expect(missing.filter((target) => target !== "install")).toEqual([]);
  expect(named).toContain("demo");
});

test("every call of a tool that a page shows names a tool, and fields that it has", async () => {
  const calls = of("text").flatMap((block) =>
    block.text.split("\n").flatMap((line) => (/^[a-z_]+\(.*\)$/.test(line) ? [{ block, line }] : [])),
  );
  const problems = await Promise.all(
    calls.map(async ({ block, line }) => {
      const problem = await toolCallProblem(line);
      return problem === undefined ? [] : [`${place(block)}: ${line}\n    ${problem}`];
    }),
  );
  expect(problems.flat().join("\n")).toBe("");
  expect(calls.length).toBeGreaterThan(10);
});

test("every JSON and TOML block is well formed", () => {
  for (const block of of("json", "jsonc")) {
    const errors: ParseError[] = [];
    parseJsonc(block.text, errors, {
      disallowComments: block.language === "json",
      allowTrailingComma: false,
    });
    expect(errors, place(block)).toEqual([]);
  }
  for (const block of of("toml")) expect(() => parseToml(block.text), place(block)).not.toThrow();
});

test("the check itself sees a wrong flag, a wrong command, a wrong value and a wrong field", async () => {
  expect(await usageProblem(["workspace", "create", "debian:12", "--seed-dir", "x"])).toContain("--seed-dir");
  expect(await usageProblem(["workspace", "exce", "ID"])).toContain("exce");
  expect(await usageProblem(["run", "debian:12", "--mem-mib", "lots", "--", "true"])).toContain("--mem-mib");
  expect(await toolCallProblem('workspace_exec(workspace_id="x", comand="ls")')).toContain("comand");
  expect(
    shellCommands(`A=1 pyro run x -- sh -c 'a && b' | wc # no\necho "$(pyro env list)" >f && true`),
  ).toEqual([
    ["A=1", "pyro", "run", "x", "--", "sh", "-c", "a && b"],
    ["wc"],
    ["pyro", "env", "list"],
    ["echo", "SUBSTITUTED"],
    ["true"],
  ]);
  expect(typedIn("$ a \\\n> b\nout\n$ c")).toBe("a \\\nb\nc");
});

function commandsOf(block: Block): readonly (readonly string[])[] {
  if (block.language === "indented") {
    const lines = block.text.split("\n").filter((line) => /^(bin\/)?pyro /.test(line));
    return lines.flatMap((line) => shellCommands(line));
  }
  return shellCommands(block.language === "console" ? typedIn(block.text) : block.text);
}

/** The program of a command, behind variables and what runs another one. */
function program(words: readonly string[]): string | undefined {
  return words.find(
    (word) => !/^[A-Z_]+=/.test(word) && !["sudo", "time", "then", "do", "-n"].includes(word),
  );
}

const PYRO = /^(\.\/|[\w.~/-]+\/|\$PWD\/)?(bin\/)?pyro$/;

/** The words behind `pyro`: typed, behind the `--` of a chat host's command, or by npx. */
function pyroWords(words: readonly string[]): readonly string[] | undefined {
  const name = program(words) ?? "";
  if (PYRO.test(name)) return words.slice(words.indexOf(name) + 1);
  const own = words.indexOf("--");
  if (own > 0 && PYRO.test(words[own + 1] ?? "")) return words.slice(own + 2);
  const npx = words.indexOf("pyro-mcp");
  if (!words.includes("npx") || npx < 0) return undefined;
  return words.slice(words[npx + 1] === "pyro" ? npx + 2 : npx + 1);
}

/** What is wrong with a command line; undefined where nothing is. "…" stands for whatever the reader has there. */
async function usageProblem(argv: readonly string[]): Promise<string | undefined> {
  try {
    await readCommandLine(argv.filter((word) => word !== "…"));
    return undefined;
  } catch (error) {
    return PyroError.from(error).message;
  }
}
