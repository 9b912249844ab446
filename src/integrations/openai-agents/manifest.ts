import { readFile } from "node:fs/promises";
import { isAbsolute, relative, resolve } from "node:path";
import type { Entry, Manifest } from "@openai/agents/sandbox";
import { PyroError } from "../../protocol/index.js";
import type { Pyro } from "../../sdk/index.js";
import { runCommand } from "../shared/command.js";

/** Where manifests of this client are rooted. */
const ROOT = "/workspace";

/**
 * Refuses what no workspace has, before one is made.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function checkManifest(manifest: Manifest): void {
  if (manifest.root !== ROOT) throw refused(`the root ${manifest.root}`, `it is ${ROOT}`);
  if (manifest.groups.length > 0) throw refused("groups", "make them by a command");
  if (manifest.extraPathGrants.length > 0)
    throw refused("a path of the host", "copy it by an entry, or begin with `source` of PyroSandboxOptions");
  for (const { entry, logicalPath } of manifest.iterEntries()) checkEntry(logicalPath, entry);
}

function checkEntry(path: string, entry: Entry): void {
  if (entry.group !== undefined) throw refused(`${path}: a group`, "set it by a command");
  if (entry.permissions !== undefined) throw refused(`${path}: permissions`, "set them by a command");
  if (entry.type === "git_repo")
    throw refused(
      `${path}: a repository`,
      'begin with it: source: {kind: "repository", url} of PyroSandboxOptions',
    );
  if (!["dir", "file", "local_file", "local_dir"].includes(entry.type))
    throw refused(`${path}: a mount`, "copy the files: entries file, dir, local_file and local_dir");
  if (entry.type === "local_file" || entry.type === "local_dir") localSource(entry.src);
}

/** Puts a manifest's users and entries into a workspace. */
export async function applyManifest(pyro: Pyro, workspaceId: string, manifest: Manifest): Promise<void> {
  for (const { name } of manifest.users) {
    const line = 'id -u -- "$1" >/dev/null 2>&1 || useradd --create-home -- "$1"';
    await must(pyro, workspaceId, ["sh", "-c", line, "sh", name], `making the user ${name}`);
  }
  for (const [path, entry] of Object.entries(manifest.entries))
    await putEntry(pyro, workspaceId, path, entry);
}

/** Puts one entry of a manifest into a workspace; a directory with what is in it. */
export async function putEntry(pyro: Pyro, workspaceId: string, path: string, entry: Entry): Promise<void> {
  checkEntry(path, entry);
  const at = path.replace(/^\/+/, "");
  if (entry.type === "file") {
    await pyro.writeWorkspaceFile({ workspaceId, path: at, content: entry.content });
  } else if (entry.type === "local_file") {
    const source = localSource(entry.src);
    const content = await readFile(source).catch((error: unknown) => {
      throw new PyroError("SEED_NOT_FOUND", `${source} cannot be read: ${(error as Error).message}`, {
        hint: "name a file below the working directory",
        cause: error,
      });
    });
    await pyro.writeWorkspaceFile({ workspaceId, path: at, content });
  } else if (entry.type === "local_dir") {
    await pyro.pushWorkspaceSync({ workspaceId, sourcePath: localSource(entry.src), dest: at });
  } else if (entry.type === "dir") {
    await must(pyro, workspaceId, ["mkdir", "-p", "--", at === "" ? "." : at], `making ${path}`);
    for (const [name, child] of Object.entries(entry.children ?? {}))
      await putEntry(pyro, workspaceId, `${at}/${name}`, child);
  }
}

/** As the SDK's own sandboxes have it: below the working directory. */
function localSource(source: string): string {
  const path = resolve(source);
  const within = relative(process.cwd(), path);
  if (!within.startsWith("..") && !isAbsolute(within)) return path;
  throw new PyroError("HOST_PATH_NOT_ALLOWED", `${path} is not below the working directory`, {
    hint: "begin with it instead: `source` of PyroSandboxOptions",
  });
}

async function must(pyro: Pyro, workspaceId: string, argv: readonly string[], what: string): Promise<void> {
  const { exitCode, stderr } = await runCommand(pyro, { workspaceId, argv });
  if (exitCode !== 0) throw new PyroError("INVALID_ARGUMENT", `${what} failed: ${stderr.trim()}`);
}

function refused(what: string, hint: string): PyroError {
  return new PyroError("INVALID_ARGUMENT", `the manifest asks for ${what}, which a workspace does not have`, {
    hint,
  });
}
