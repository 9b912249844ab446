import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const path = join(root, "node_modules/.cache/pyro/build.json");

/**
 * What the last build made of which sources: `code` and `declared`, each with the sources' fingerprint (`of`) and the
 * npm packages that are in the result. Empty where nothing was built yet.
 */
export function readBuildRecord() {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return {};
  }
}

/** Replaces the record as a whole. */
export function writeBuildRecord(record) {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = join(dirname(path), `build.json.${process.pid}.tmp`);
  writeFileSync(temporary, JSON.stringify(record));
  renameSync(temporary, path);
}

/**
 * The npm packages that some files are of: `installed`, their directories below node_modules/, and `inlined`, as
 * name@version, those that a bundler put into one of the files before us; it says so in a comment.
 * @param {string[]} files absolute, or relative to the repository
 */
export function packagesOf(files) {
  const installed = new Set();
  const inlined = new Set();
  for (const file of files) {
    const path = /(?:^|\/)(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/@.][^/]*)\//.exec(file)?.[1];
    if (path === undefined) continue;
    installed.add(path);
    const regions = readFileSync(resolve(root, file), "utf8").matchAll(
      /^\/\/ ?#region .*node_modules\/\.pnpm\/([^/]+?)@([^/@_]+)[^/]*\/node_modules\//gm,
    );
    for (const [, name, version] of regions) inlined.add(`${name.replace("+", "/")}@${version}`);
  }
  return { installed: [...installed].sort(), inlined: [...inlined].sort() };
}
