import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Set by scripts/build.mjs; absent when the sources run unbundled, in tests. */
declare const PYRO_VERSION: string | undefined;

/** Which build of pyro this process runs. */
export interface Build {
  readonly version: string;
  /** Fingerprint of the bundled code; empty when the sources run unbundled. */
  readonly buildId: string;
  /** The command's entry, for a process that starts another of the same build; absent when unbundled. */
  readonly mainPath: string | undefined;
}

let known: Build | undefined;

/** The build of this process, read once: all bundles lie side by side in one directory, with its `build-id`. */
export function thisBuild(): Build {
  known ??= readBuild();
  return known;
}

function readBuild(): Build {
  if (typeof PYRO_VERSION !== "string") return { version: "0.0.0-source", buildId: "", mainPath: undefined };
  const buildId = readFileSync(new URL("./build-id", import.meta.url), "utf8").trim();
  return { version: PYRO_VERSION, buildId, mainPath: fileURLToPath(new URL("./main.js", import.meta.url)) };
}

/** A file or directory that ships beside the code: of the package that this file, bundled or not, belongs to. */
export function packagePath(name: string): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "package.json")) && directory !== dirname(directory))
    directory = dirname(directory);
  return join(directory, name);
}
