import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const { exports, peerDependencies } = JSON.parse(
  readFileSync(fileURLToPath(new URL("../../package.json", import.meta.url)), "utf8"),
);

/**
 * What a program can import of the package, by its path below src/ and dist/ without a suffix: "index" and one
 * "integrations/NAME" for each `pyro-mcp/NAME` of package.json's `exports`.
 * @returns {string[]}
 */
export function codeEntries() {
  return Object.values(exports).flatMap((entry) => {
    const found = /^\.\/dist\/(.+)\.js$/.exec(entry.default ?? "")?.[1];
    return found === undefined ? [] : [found];
  });
}

/**
 * The packages that integrations are for: whoever imports such an integration has the package, and no bundle of ours
 * contains anything of it, neither code nor types.
 * @returns {string[]}
 */
export function outside() {
  return Object.keys(peerDependencies ?? {});
}
