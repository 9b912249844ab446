import { statSync } from "node:fs";
import { resolve } from "node:path";
import { PyroError } from "../protocol/index.js";
import { HostRoots, real } from "./host-path.js";
import { isTooWide, type ProjectSource } from "./project-source.js";

/**
 * The roots that a server was given; by default the project, else the working directory, unless that is `/` or HOME.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function hostRoots(
  given: readonly string[],
  { source }: ProjectSource,
  workingDirectory: string,
): HostRoots {
  const base = source?.kind === "project" ? source.path : workingDirectory;
  const roots =
    given.length > 0
      ? given.map((path) => provenRoot(resolve(workingDirectory, path), path))
      : isTooWide(base)
        ? []
        : [real(base)];
  return new HostRoots(roots, base);
}

function provenRoot(path: string, given: string): string {
  const shown = JSON.stringify(given);
  if (isTooWide(path)) {
    throw new PyroError(
      "INVALID_ARGUMENT",
      `--host-root ${shown} would open all of ${real(path)} to the tools`,
      {
        hint: "name a directory below it",
      },
    );
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new PyroError("INVALID_ARGUMENT", `--host-root ${shown} is not a directory`, {
      hint: "make it first, or name another",
    });
  }
  return real(path);
}
