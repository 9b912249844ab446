import { lstat, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { basename, dirname, join, posix } from "node:path";
import { complete, failpoint, freshId } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import { hostExecutablePaths, type HostExecutablePath } from "./diff/index.js";
import { WORKSPACE_PATH } from "./command-line.js";
import { absolutePath } from "./command-line.js";
import { pathsWithSecrets } from "./exported-secrets.js";
import { exportedTree } from "./exported-tree.js";
import { diskFull, writeHostFile } from "./host-file.js";
import { unpackOnHost } from "./host-unpack.js";
import type { Exported } from "./transfer.js";
import type { FileEntry } from "./workspace-files.js";
import type { Workspace } from "./workspace.js";
import type { WorkspaceMachine } from "./workspace-machine.js";

/** What is on its way is named in the workspace's directory, so that a later daemon removes it. */
const PENDING = "export-pending";

/**
 * Brings a file, directory or link of a workspace to the host. It stands at `outputPath` whole or not at all.
 * @throws {PyroError} GUEST_FILE_NOT_FOUND, EXPORT_EXISTS, EXPORT_FAILED, DISK_FULL, INVALID_ARGUMENT
 */
export async function exportPath(
  workspace: Workspace,
  machine: WorkspaceMachine,
  { path, outputPath, overwrite }: { path: string; outputPath: string; overwrite: boolean },
): Promise<Exported> {
  const { signal } = workspace;
  const workspacePath = posix.normalize(absolutePath(path)).replace(/(.)\/$/, "$1");
  const entry = await entryAt(machine, workspacePath, signal);
  const { redactor } = workspace.secrets;
  const { leftOut, tree, secret } = await placeOnHost(
    workspace,
    { outputPath, overwrite },
    async (temporary) => {
      const leftOut = await bring(machine, entry, temporary, signal);
      const tree = await exportedTree(temporary);
      const paths = tree.entries.map((each) => each.path);
      return { leftOut, tree, secret: await pathsWithSecrets(temporary, paths, redactor) };
    },
  );
  await workspace.note({ kind: "export", path: workspacePath, detail: outputPath });
  const top = posix.relative(WORKSPACE_PATH, workspacePath);
  return {
    ...redactor.values({ workspacePath, outputPath }),
    artifactType: entry.type,
    entryCount: tree.entries.length,
    bytesWritten: tree.bytes,
    hostExecutablePaths: redactor.values(executablesOf(tree, workspacePath)),
    secretPaths: redactor.values(secret.map((path) => posix.join(top, path))),
    warnings: [
      ...(leftOut > 0 ? [`${leftOut} devices, FIFOs or sockets were left out`] : []),
      ...(secret.length > 0 ? [`${secret.length} of the exported paths hold a secret of the workspace`] : []),
    ],
  };
}

/**
 * Makes something of the host's beside its place, and moves it there in one step; a daemon that dies meanwhile leaves
 * nothing that the next does not remove.
 * @throws {PyroError} EXPORT_EXISTS unless `overwrite`, EXPORT_FAILED, DISK_FULL, what `make` throws
 */
export async function placeOnHost<T>(
  workspace: Pick<Workspace, "paths">,
  { outputPath, overwrite }: { readonly outputPath: string; readonly overwrite: boolean },
  make: (temporary: string) => Promise<T>,
): Promise<T> {
  if (!overwrite) await requireAbsent(outputPath);
  const temporary = join(dirname(outputPath), `.${basename(outputPath)}.${freshId("pyro")}`);
  const pending = join(workspace.paths.directory, PENDING);
  await writeFile(pending, temporary, { mode: 0o600 });
  try {
    const made = await make(temporary);
    failpoint("workspace.exported");
    await place(temporary, outputPath, overwrite);
    return made;
  } catch (thrown) {
    throw onHost(thrown, outputPath);
  } finally {
    // Where nothing could be made, nothing can be removed either, and the reason is what counts.
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    await rm(pending, { force: true });
  }
}

/** Removes what an export that was killed left on the host. */
export async function sweepExport(directory: string): Promise<void> {
  const pending = join(directory, PENDING);
  const temporary = await readFile(pending, "utf8").catch(() => undefined);
  // A name of ours in a file of ours; anything else is left alone.
  const [, parent, name] = /^(.*\/)\.([^/]+)\.pyro-[0-9a-f]{16}$/s.exec(temporary ?? "") ?? [];
  if (temporary !== undefined && parent !== undefined && name !== undefined) {
    await rm(temporary, { recursive: true, force: true });
    // Killed between the two steps of an overwrite: what was there before comes back.
    await move(oldOf(temporary), join(parent, name)).catch(() => undefined);
    await rm(oldOf(temporary), { recursive: true, force: true });
  }
  await rm(pending, { force: true });
}

/** What stands at a path, links not followed: its parent's list says so. */
async function entryAt({ files }: WorkspaceMachine, path: string, signal: AbortSignal): Promise<FileEntry> {
  const bytes = Buffer.from(path);
  if (posix.dirname(path) === "/")
    return { path: bytes, type: "directory", sizeBytes: 0, mode: 0o755, linkTarget: Buffer.alloc(0) };
  const parent = Buffer.from(posix.dirname(path));
  const { entries } = await files.list(parent, {
    recursive: false,
    maxEntries: LIMITS.listedEntries,
    signal,
  });
  const entry = entries.find((each) => Buffer.compare(each.path, bytes) === 0);
  if (entry === undefined) {
    throw new PyroError("GUEST_FILE_NOT_FOUND", `there is no ${JSON.stringify(path)} in the workspace`, {
      hint: `\`pyro workspace file list ID ${posix.dirname(path)}\` shows what there is`,
    });
  }
  return entry;
}

/** Makes it anew at a path of the host where nothing is; the number of what cannot be brought. */
async function bring(
  { files }: WorkspaceMachine,
  entry: FileEntry,
  to: string,
  signal: AbortSignal,
): Promise<number> {
  switch (entry.type) {
    case "file": {
      const { data, sizeBytes } = await files.read(entry.path, { signal });
      await writeHostFile(to, data, { sizeBytes, mode: entry.mode & 0o777 });
      return 0;
    }
    case "symlink":
      await symlink(Buffer.from(entry.linkTarget), to);
      return 0;
    case "directory": {
      const packed = await files.pack(entry.path, { signal });
      await mkdir(to, { mode: 0o700 });
      await unpackOnHost(packed.data, to, signal);
      return packed.leftOut;
    }
    case "other":
      throw new PyroError("GUEST_FILE_REFUSED", "a device, FIFO or socket cannot be exported", {
        hint: "export a file, a directory or a link",
      });
  }
}

async function requireAbsent(path: string): Promise<void> {
  const there = await lstat(path).catch(() => undefined);
  if (there !== undefined) throw existing(path);
}

function existing(path: string): PyroError {
  return new PyroError("EXPORT_EXISTS", `${path} is there already`, {
    hint: "name another path, or replace it with --overwrite",
  });
}

/** In one step, and never over something that came meanwhile unless that was asked for. */
async function place(temporary: string, outputPath: string, overwrite: boolean): Promise<void> {
  const old = oldOf(temporary);
  if (overwrite) {
    // A directory that is not empty cannot be renamed over.
    await move(outputPath, old).catch(() => undefined);
  }
  try {
    await move(temporary, outputPath);
  } catch (error) {
    if (overwrite) await move(old, outputPath).catch(() => undefined);
    throw error;
  }
  await rm(old, { recursive: true, force: true });
}

/** Where what is replaced waits. */
function oldOf(temporary: string): string {
  return `${temporary}.old`;
}

/** Renames without replacing (renameat2's RENAME_NOREPLACE), which Node cannot and coreutils can. */
async function move(from: string, to: string): Promise<void> {
  const { code, stderrTail } = await complete("mv", [
    "--no-clobber",
    "--no-target-directory",
    "--",
    from,
    to,
  ]);
  if (code !== 0)
    throw new PyroError("EXPORT_FAILED", `${to} cannot be made: ${stderrTail.trim()}`, {
      hint: "name another path",
    });
  const left = await lstat(from).catch(() => undefined);
  if (left !== undefined) throw existing(to);
}

/** By their paths in the workspace. */
function executablesOf(
  { entries }: Awaited<ReturnType<typeof exportedTree>>,
  workspacePath: string,
): HostExecutablePath[] {
  const top = posix.relative(WORKSPACE_PATH, workspacePath);
  const paths = entries
    .filter(({ isDirectory }) => !isDirectory)
    .map(({ path, mode, content }) => ({
      ...{ path: posix.join(top, path), mode },
      ...(content === undefined ? {} : { content }),
    }));
  return hostExecutablePaths(paths);
}

/** The host's own errors name the place; the guest's stay as they are. */
function onHost(thrown: unknown, outputPath: string): PyroError {
  if (thrown instanceof PyroError) {
    const why = thrown.details["why"];
    return thrown.code === "DISK_FULL" && typeof why === "string"
      ? diskFull(outputPath, why, thrown)
      : thrown;
  }
  const { code, syscall } = thrown as NodeJS.ErrnoException;
  if (syscall === undefined || code === undefined) return PyroError.from(thrown);
  if (code === "ENOSPC" || code === "EDQUOT") return diskFull(outputPath, "no space is left", thrown);
  const parent = JSON.stringify(dirname(outputPath));
  const hint =
    code === "ENOENT"
      ? `make its directory first: \`mkdir -p ${parent}\``
      : `name a path in a directory that you can write, not in ${parent}`;
  return new PyroError("EXPORT_FAILED", `${outputPath} cannot be written (${code})`, { hint, cause: thrown });
}
