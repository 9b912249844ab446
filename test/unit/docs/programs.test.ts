import { join } from "node:path";
import ts from "typescript";
import { expect, test } from "vitest";
import { allBlocks, ROOT, type Block } from "./markdown.js";

/** Packages of others that pages import, and where programs with them are run for real. */
const FOREIGN_MODULES: Readonly<Record<string, string>> = {};

/** Pages whose blocks are no programs. */
const NO_PROGRAMS: Readonly<Record<string, string>> = {
  "docs/reference/sdk.md": "declarations, taken from the sources that are type-checked",
  "docs/integrations-frameworks.md":
    "the lines of examples/frameworks that matter: test/vm/integrations-frameworks.test.ts runs those, with the frameworks",
};

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ["node"],
  typeRoots: [join(ROOT, "node_modules/@types")],
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  allowJs: true,
  checkJs: true,
  exactOptionalPropertyTypes: true,
  resolveJsonModule: true,
  paths: { "pyro-mcp": [join(ROOT, "src/index.ts")], "pyro-mcp/*": [join(ROOT, "src/integrations/*.ts")] },
};

test("every program that a page shows passes the type checker, with pyro-mcp as it is exported", async () => {
  const blocks = (await allBlocks()).filter(
    ({ language, page }) => ["ts", "js"].includes(language) && !(page in NO_PROGRAMS),
  );
  expect(blocks.length).toBeGreaterThan(1);
  expect(problemsOf(blocks)).toEqual([]);
}, 120_000);

test("the check itself sees a wrong option and a method that there is not", () => {
  const text =
    'import { Pyro } from "pyro-mcp";\nconst pyro = new Pyro({ stateDirectory: "x" });\nawait pyro.runInVM();\n';
  const problems = problemsOf([{ page: "wrong.md", line: 1, language: "ts", text }]);
  expect(problems.join("\n")).toMatch(/wrong\.md:3.*stateDirectory[\s\S]*wrong\.md:4.*runInVM/);
}, 120_000);

/** What the type checker says of these programs, each line with its place on the page. */
function problemsOf(blocks: readonly Block[]): readonly string[] {
  const files = new Map(
    blocks.map((block, index) => [join(ROOT, `page-${index}.m${block.language}`), block]),
  );
  const ambient = join(ROOT, "page-modules.d.ts");
  const declared = Object.keys(FOREIGN_MODULES).map((name) => `declare module "${name}";\n`);
  const host = ts.createCompilerHost(OPTIONS, true);
  const disk = ts.createCompilerHost(OPTIONS, true);
  // A page's program is a module, also where it imports nothing.
  const textOf = (path: string): string | undefined => {
    const block = files.get(path);
    return block === undefined
      ? path === ambient
        ? declared.join("")
        : undefined
      : `${block.text}\nexport {};\n`;
  };
  host.fileExists = (path) => textOf(path) !== undefined || disk.fileExists(path);
  host.readFile = (path) => textOf(path) ?? disk.readFile(path);
  host.getSourceFile = (path, version, ...rest) => {
    const text = textOf(path);
    return text === undefined
      ? disk.getSourceFile(path, version, ...rest)
      : ts.createSourceFile(path, text, version, true);
  };
  const program = ts.createProgram([...files.keys(), ambient], OPTIONS, host);
  return [...files].flatMap(([path, { page, line }]) => {
    const source = program.getSourceFile(path);
    return ts.getPreEmitDiagnostics(program, source).map(({ messageText, start = 0 }) => {
      const at = line + 1 + (source?.getLineAndCharacterOfPosition(start).line ?? 0);
      return `${page}:${at}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
    });
  });
}
