import { homedir } from "node:os";
import { resolve } from "node:path";
import { findCheckout, withoutCredentials } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { WorkspaceSource } from "../sdk/index.js";
import { real } from "./host-path.js";

/** Where the workspaces of a server begin, as the user said when it was started. */
export interface ProjectOptions {
  /** A Git checkout; also a directory inside of one. */
  readonly projectPath?: string | undefined;
  /** A Git repository elsewhere; excludes `projectPath`. */
  readonly repoUrl?: string | undefined;
  /** Branch, tag or commit of `repoUrl`. */
  readonly repoRef?: string | undefined;
  /** Workspaces begin empty where a call names no seed. */
  readonly noProjectSource?: boolean | undefined;
  /** Ignored paths of the project to take all the same, relative to it. */
  readonly seedInclude?: readonly string[] | undefined;
}

/** The source that is used where a call names none. */
export interface ProjectSource {
  /** Undefined: nothing. */
  readonly source: WorkspaceSource | undefined;
  /** For the tool's description: "the project …". */
  readonly says: string;
  /** The source and its state, one line for people. */
  readonly line: string;
}

/**
 * Finds the source, without starting git: what is wrong with a checkout shows when it is seeded.
 * @throws {PyroError} INVALID_ARGUMENT for options that exclude each other, PROJECT_NOT_FOUND
 */
export function projectSource(options: ProjectOptions, workingDirectory: string): ProjectSource {
  refuseContradictions(options);
  const { projectPath, repoUrl, repoRef, noProjectSource = false, seedInclude = [] } = options;
  if (noProjectSource) return none("project source: none, as asked for");
  if (repoUrl !== undefined) {
    const shown = `${withoutCredentials(repoUrl)}${repoRef === undefined ? "" : ` at ${repoRef}`}`;
    return {
      source: { kind: "repository", url: repoUrl, ref: repoRef },
      says: `the repository ${shown}`,
      line: `project source: the repository ${shown}, fetched when a workspace is created`,
    };
  }
  const found = findCheckout(resolve(workingDirectory, projectPath ?? "."));
  if (projectPath !== undefined && found === undefined) {
    throw new PyroError("PROJECT_NOT_FOUND", `${JSON.stringify(projectPath)} is in no Git checkout`, {
      hint: "name a checkout with --project-path, a repository with --repo-url, or begin empty with --no-project-source; a plain directory is the seed_path of a call",
    });
  }
  if (found === undefined) {
    return none(
      "project source: none, the working directory is in no Git checkout; --project-path DIR or --repo-url URL names one",
    );
  }
  if (projectPath === undefined && isTooWide(found.root)) {
    return none(
      `project source: none, the checkout around the working directory is ${found.root} as a whole; --project-path DIR names one`,
    );
  }
  const included = seedInclude.length === 0 ? "" : `, with ${seedInclude.join(", ")}`;
  const branch = found.branch === null ? "no branch" : `branch ${found.branch}`;
  return {
    source: { kind: "project", path: found.root, include: seedInclude },
    says: `the project ${found.root} (tracked and unignored files${included})`,
    line: `project source: ${found.root} (Git checkout, ${branch}${included})`,
  };
}

/** The source of a server that is started in a directory without options, and its state. */
export function projectSourceIn(workingDirectory: string): string {
  return projectSource({}, workingDirectory).line.replace(/^project source: /, "");
}

/** `/` and the home directory hold much that no tool should take or touch by default. */
export function isTooWide(path: string): boolean {
  return ["/", real(homedir())].includes(real(path));
}

function none(line: string): ProjectSource {
  return { source: undefined, says: "nothing, the workspace is empty", line };
}

function refuseContradictions(options: ProjectOptions): void {
  const { projectPath, repoUrl, repoRef, noProjectSource = false, seedInclude = [] } = options;
  const refuse = (what: string): never => {
    throw new PyroError("INVALID_ARGUMENT", what, { hint: "leave one of them out" });
  };
  if (projectPath !== undefined && repoUrl !== undefined)
    refuse("--project-path and --repo-url exclude each other");
  if (noProjectSource && (projectPath ?? repoUrl) !== undefined)
    refuse("--no-project-source goes with neither --project-path nor --repo-url");
  if (repoRef !== undefined && repoUrl === undefined) {
    throw new PyroError("INVALID_ARGUMENT", "--repo-ref needs --repo-url", {
      hint: "name the repository: --repo-url URL",
    });
  }
  if (seedInclude.length > 0 && (noProjectSource || repoUrl !== undefined))
    refuse("--seed-include names ignored paths of a checkout on this host, and there is none");
}
