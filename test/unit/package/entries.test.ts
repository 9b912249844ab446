import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../../..");
const { codeEntries, outside } = (await import(join(root, "scripts/build/entries.mjs"))) as {
  codeEntries: () => string[];
  outside: () => string[];
};
const described = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  exports: Record<string, unknown>;
  peerDependencies: Record<string, string>;
  peerDependenciesMeta: Record<string, { optional?: boolean }>;
  devDependencies: Record<string, string>;
};
/** Those that are too large for every checkout. */
const frameworks = JSON.parse(readFileSync(join(root, "test/frameworks/package.json"), "utf8")) as {
  dependencies: Record<string, string>;
};
const filesOf = (suffix: string): string[] =>
  readdirSync(join(root, "dist"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(suffix),
  );

/** What a module asks for before it runs, built or declared. */
function staticImports(text: string): string[] {
  return [...text.matchAll(/^(?:import|export)\b[^;"']*?(?:from )?["']([^"']+)["'];?$/gm)].map(
    ([, name]) => name ?? "",
  );
}

describe("What the package offers to import", () => {
  it("is the SDK and each integration, named as its file is", () => {
    const sources = readdirSync(join(root, "src/integrations")).filter((name) => name.endsWith(".ts"));
    const names = sources.map((name) => name.replace(/\.ts$/, ""));
    expect(codeEntries().sort()).toEqual(["index", ...names.map((name) => `integrations/${name}`)].sort());
    for (const name of names)
      expect(described.exports[`./${name}`]).toEqual({
        types: `./dist/integrations/${name}.d.ts`,
        default: `./dist/integrations/${name}.js`,
      });
    for (const entry of codeEntries()) expect(existsSync(join(root, "dist", `${entry}.d.ts`))).toBe(true);
  });

  it("needs no framework: each is an optional peer, which tests have in one version of its range", () => {
    for (const name of outside()) {
      expect(described.peerDependenciesMeta[name]).toEqual({ optional: true });
      const { [name]: version } = { ...described.devDependencies, ...frameworks.dependencies };
      expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    }
  });

  it("loads where no framework is installed", () => {
    const imported = filesOf(".js").flatMap((name) =>
      staticImports(readFileSync(join(root, "dist", name), "utf8")).map((specifier) => ({ name, specifier })),
    );
    expect(imported.length).toBeGreaterThan(50);
    expect(imported.filter(({ specifier }) => !specifier.startsWith(".") && !isBuiltin(specifier))).toEqual(
      [],
    );
  });

  it("finds the MCP SDK from where it lies", () => {
    for (const name of filesOf(".js").filter((file) => file.includes("/")))
      expect(readFileSync(join(root, "dist", name), "utf8")).not.toContain('"./mcp-sdk.js"');
  });

  it("is declared with the frameworks' own types and nobody else's", () => {
    const outer = filesOf(".d.ts").flatMap((name) =>
      staticImports(readFileSync(join(root, "dist", name), "utf8")).filter(
        (specifier) => !specifier.startsWith("."),
      ),
    );
    const isPeer = (specifier: string): boolean =>
      outside().some((peer) => specifier === peer || specifier.startsWith(`${peer}/`));
    expect(outer).toContain("openai");
    expect(outer.filter((specifier) => !isBuiltin(specifier) && !isPeer(specifier))).toEqual([]);
  });
});
