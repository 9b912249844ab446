import { HOST_EXECUTABLE_RULES, type HostExecutableRule } from "./host-executable-table.js";

/** A regular file or link that leaves the workspace. */
export interface ExportedPath {
  /** Relative to the workspace. */
  readonly path: string;
  /** Permission bits; 0 where they are not known, and of links. */
  readonly mode: number;
  /** Its beginning (LIMITS.hostExecutableLookBytes is enough), where it was read; without it, a name that may run counts as one that does. */
  readonly content?: string;
}

export interface HostExecutablePath {
  readonly path: string;
  readonly why: string;
}

/**
 * What would run on the host, or be obeyed there, if these paths were exported; sorted by path. A warning for a
 * person, not a wall: programs that nobody listed exist.
 */
export function hostExecutablePaths(paths: readonly ExportedPath[]): HostExecutablePath[] {
  const hookDirectories = paths.flatMap(hooksPathOf);
  const found: HostExecutablePath[] = [];
  for (const exported of paths) {
    const hooks = hookDirectories.some((directory) => exported.path.startsWith(`${directory}/`));
    const why = hooks ? "git runs it as a hook (core.hooksPath)" : reasonFor(exported);
    if (why !== undefined) found.push({ path: exported.path, why });
  }
  return found.sort((left, right) => (left.path < right.path ? -1 : left.path > right.path ? 1 : 0));
}

const RULES = HOST_EXECUTABLE_RULES.map((rule) => ({ ...rule, pattern: patternOf(rule) }));

function reasonFor({ path, mode, content }: ExportedPath): string | undefined {
  const rule = RULES.find(
    ({ pattern, only }) =>
      pattern.test(path) && (only === undefined || content === undefined || only.test(content)),
  );
  if (rule !== undefined) return rule.why;
  if ((mode & 0o111) !== 0) return "it is executable";
  return content?.startsWith("#!") === true ? "a script: it names its interpreter (#!)" : undefined;
}

/** The directory that a repository's configuration names for hooks, relative to the workspace. */
function hooksPathOf({ path, content }: ExportedPath): string[] {
  const root = /^(.*?)\.git\/config(?:\.worktree)?$/i.exec(path)?.[1];
  const named = /^\s*hooksPath\s*=\s*"?([^"\n]+?)"?\s*$/im.exec(content ?? "")?.[1];
  if (root === undefined || named === undefined) return [];
  return [root + named.replace(/^\.\//, "").replace(/\/+$/, "")];
}

function patternOf({ paths }: HostExecutableRule): RegExp {
  return new RegExp(`(?:^|/)(?:${paths.map(expressionOf).join("|")})$`, "is");
}

function expressionOf(path: string): string {
  return path
    .replace(/[.+^$()|[\]\\]/g, "\\$&")
    .replaceAll("**", "\0")
    .replaceAll("*", "[^/]*")
    .replaceAll("\0", ".+")
    .replace(/\{([^}]*)\}/g, (_, choices: string) => `(?:${choices.replaceAll(",", "|")})`);
}
