import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import ts from "typescript";
import { GENERATED, plain } from "./markdown.js";

const ROOT = join(import.meta.dirname, "../..");

/** The reference of the SDK: what `src/index.ts` exports, with the doc comments of the sources. */
export async function sdkPage(): Promise<string> {
  const files = await parsed(["src/sdk", "src/mcp", "src/protocol"]);
  const exported = exportedNames(await parse(join(ROOT, "src/index.ts")));
  const declarations = files.flatMap((file) => file.statements.filter(isNamed));
  const find = (name: string): Named | undefined => declarations.find((one) => one.name?.text === name);
  const methods = classChain("Pyro", find).flatMap(methodsOf);
  const rest = exported.filter((name) => name !== "Pyro").flatMap((name) => find(name) ?? []);
  return [
    GENERATED,
    "# SDK\n",
    INTRODUCTION,
    "## class Pyro\n",
    `${plain(docOf(find("Pyro")))}\n`,
    ...methods,
    "## What it exports besides\n",
    ...rest.map(declarationSection),
  ].join("\n");
}

const INTRODUCTION = `\`npm install pyro-mcp\`, then as an ES module \`import { Pyro } from "pyro-mcp"\`, as CommonJS \`const { Pyro } = require("pyro-mcp")\`. Methods reject with \`PyroError\`:
\`code\`, \`message\`, \`hint\`, \`details\`, \`retryable\`; [troubleshooting](../troubleshooting.md) has a page for each code. A command that ran and failed is a result, not an error.
`;

type Named = ts.ClassDeclaration | ts.InterfaceDeclaration | ts.TypeAliasDeclaration | ts.FunctionDeclaration;

function isNamed(node: ts.Statement): node is Named {
  const isKind =
    ts.isClassDeclaration(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isFunctionDeclaration(node);
  return isKind && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);
}

async function parsed(folders: readonly string[]): Promise<readonly ts.SourceFile[]> {
  const names = await Promise.all(
    folders.map(async (folder) =>
      (await readdir(join(ROOT, folder)))
        .filter((name) => name.endsWith(".ts"))
        .sort()
        .map((name) => join(ROOT, folder, name)),
    ),
  );
  return await Promise.all(names.flat().map(parse));
}

async function parse(path: string): Promise<ts.SourceFile> {
  return ts.createSourceFile(path, await readFile(path, "utf8"), ts.ScriptTarget.Latest, true);
}

function exportedNames(index: ts.SourceFile): readonly string[] {
  return index.statements.flatMap((statement) =>
    ts.isExportDeclaration(statement) &&
    statement.exportClause !== undefined &&
    ts.isNamedExports(statement.exportClause)
      ? statement.exportClause.elements.map(({ name }) => name.text)
      : [],
  );
}

/** A class and those that it extends. */
function classChain(name: string, find: (name: string) => Named | undefined): readonly ts.ClassDeclaration[] {
  const found = find(name);
  if (found === undefined || !ts.isClassDeclaration(found)) return [];
  const above = found.heritageClauses?.find(({ token }) => token === ts.SyntaxKind.ExtendsKeyword)?.types[0];
  return [found, ...(above === undefined ? [] : classChain(above.expression.getText(), find))];
}

const HIDDEN = [ts.SyntaxKind.PrivateKeyword, ts.SyntaxKind.ProtectedKeyword];

function methodsOf(declaration: ts.ClassDeclaration): readonly string[] {
  return declaration.members.flatMap((member) => {
    const isShown = ts.isMethodDeclaration(member) || ts.isGetAccessorDeclaration(member);
    const isHidden =
      ts.canHaveModifiers(member) &&
      (ts.getModifiers(member) ?? []).some(({ kind }) => HIDDEN.includes(kind));
    if (!isShown || isHidden || ts.isPrivateIdentifier(member.name)) return [];
    const source = member.getText();
    const signature = source.slice(
      0,
      member.body === undefined ? undefined : member.body.getStart() - member.getStart(),
    );
    return [
      `### ${plain(member.name.getText())}\n`,
      block(signature.replace(/^async /, "").trim()),
      `${plain(docOf(member))}\n`,
    ];
  });
}

function declarationSection(declaration: Named): string {
  const text =
    ts.isClassDeclaration(declaration) || ts.isFunctionDeclaration(declaration)
      ? signatureOf(declaration)
      : declaration.getText();
  const says = docOf(declaration);
  const name = declaration.name?.text ?? "";
  return [
    `### ${name}\n`,
    says === "" ? "" : `${plain(says)}\n`,
    block(text.replace(/^export (declare )?/, "")),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

/** A class or function without what it does. */
function signatureOf(declaration: ts.ClassDeclaration | ts.FunctionDeclaration): string {
  const source = declaration.getText();
  if (ts.isFunctionDeclaration(declaration))
    return source
      .slice(0, (declaration.body?.getStart() ?? 0) - declaration.getStart())
      .replace(/^export async /, "")
      .trim();
  const members = declaration.members
    .filter(ts.isPropertyDeclaration)
    .map((member) => `  ${member.getText().replace(/ =.*/s, ";")}`);
  return `class ${declaration.name?.text ?? ""} {\n${members.join("\n")}\n}`;
}

function block(text: string): string {
  return "```ts\n" + text + "\n```\n";
}

function docOf(node: ts.Node | undefined): string {
  if (node === undefined) return "";
  const [doc] = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc);
  if (doc === undefined) return "";
  return doc
    .getText()
    .replace(/^\/\*\*|\*\/$/g, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\* ?/, "").trim())
    .join("\n")
    .replace(/\n?@(\w+) ?(\{\w+\})? ?/g, (_, tag: string) =>
      tag === "throws" ? "\n\nRejects with " : `\n\n${tag} `,
    )
    .replace(/\n?\n?internal\b/, "")
    .trim();
}
