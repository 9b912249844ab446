import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, lstat, mkdir, readdir, readFile, readlink, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { once } from "node:events";
import { PyroError, type ErrorCode } from "../../src/protocol/index.js";
import type { FileEntry, WorkspaceFiles } from "../../src/workspace/index.js";

type Changes = Awaited<ReturnType<WorkspaceFiles["changes"]>>["changes"];
type Type = FileEntry["type"];

/** The two trees of a fake machine, as directories of the host. */
export interface HostTrees {
  readonly active: string;
  readonly baseline: string | undefined;
}

/** /workspace of a fake machine over directories of the host; names are UTF-8. */
export function hostFiles(
  trees: HostTrees,
  before: (step: string) => Promise<void> = () => Promise.resolve(),
): WorkspaceFiles {
  const at = (path: Uint8Array, tree = trees.active): string => join(tree, relativeOf(path));
  return {
    list: async (path, { recursive, maxEntries }) => {
      await before("list");
      const found = await entriesAt(at(path), Buffer.from(path).toString(), recursive);
      return { entries: found.slice(0, maxEntries), truncated: found.length > maxEntries };
    },
    read: async (path, { offset = 0, maxBytes = 0, tree = "active" }) => {
      await before("read");
      const root = tree === "baseline" ? trees.baseline : trees.active;
      const whole = await present(readFile(at(path, root)), path);
      const data = whole.subarray(offset, maxBytes === 0 ? undefined : offset + maxBytes);
      return { sizeBytes: whole.length, data: pieces(data) };
    },
    write: async (path, content) => {
      await before("write");
      const parts: Uint8Array[] = [];
      for await (const part of content) parts.push(part);
      const bytes = Buffer.concat(parts);
      await mkdir(dirname(at(path)), { recursive: true });
      await writeFile(at(path), bytes);
      return { bytesWritten: bytes.length };
    },
    edit: async (path, { oldText, newText, replaceAll }) => {
      await before("edit");
      const text = (await present(readFile(at(path)), path)).toString();
      const replacements = text.split(oldText).length - 1;
      if (replacements === 0) throw guestError("GUEST_EDIT_NO_MATCH", "the old text is not there");
      if (replacements > 1 && !replaceAll)
        throw guestError("GUEST_EDIT_AMBIGUOUS", "the old text is there often");
      const edited = text.replaceAll(oldText, newText);
      await writeFile(at(path), edited);
      return { replacements, sizeBytes: Buffer.byteLength(edited), crlf: false };
    },
    extract: async (directory, tar) => {
      await before("extract");
      await mkdir(at(directory), { recursive: true });
      const child = spawn("tar", ["-x", "-f", "-", "-C", at(directory)], {
        stdio: ["pipe", "ignore", "ignore"],
      });
      const exited = once(child, "exit");
      child.stdin.on("error", () => undefined);
      for await (const chunk of tar) {
        await before("extract.chunk");
        child.stdin.write(chunk);
      }
      child.stdin.end();
      await exited;
      return { entryCount: (await entriesAt(at(directory), "", true)).length, bytesWritten: 0 };
    },
    pack: async (path) => {
      await before("pack");
      const child = spawn("tar", ["-c", "-f", "-", "-C", at(path), "."], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      // Node throws away what nobody has read when a child ends.
      const parts: Buffer[] = [];
      child.stdout.on("data", (part: Buffer) => void parts.push(part));
      await once(child, "close");
      return { data: pieces(Buffer.concat(parts)), leftOut: 0 };
    },
    commit: async (steps) => {
      await before("commit");
      for (const step of steps) {
        const path = at(step.path);
        if (step.kind === "delete") await rm(path);
        else if (step.kind === "mode") await chmod(path, step.mode);
        else if (step.kind === "move") await rename(path, at(step.to));
        else {
          await mkdir(dirname(path), { recursive: true });
          await writeFile(path, step.content);
          if (step.mode !== undefined) await chmod(path, step.mode);
        }
      }
    },
    changes: async (below) => {
      await before("changes");
      const changes = await changesOf(trees);
      const prefix = Buffer.from(below).toString();
      const kept = changes.filter(({ path }) => {
        const name = Buffer.from(path).toString();
        return prefix === "" || name === prefix || name.startsWith(`${prefix}/`);
      });
      return { changes: kept, truncated: false };
    },
  };
}

export function guestError(code: ErrorCode, message: string): PyroError {
  return new PyroError(code, message, { hint: "the fake says so" });
}

function relativeOf(path: Uint8Array): string {
  const text = Buffer.from(path).toString();
  if (text === "/workspace") return "";
  if (text.startsWith("/workspace/") && !text.split("/").includes(".."))
    return text.slice("/workspace/".length);
  throw guestError("GUEST_FILE_REFUSED", `${text} is not in /workspace`);
}

async function present<T>(work: Promise<T>, path: Uint8Array): Promise<T> {
  return await work.catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    const shown = Buffer.from(path).toString();
    if (code === "EISDIR") throw guestError("GUEST_FILE_REFUSED", `${shown} is a directory`);
    throw guestError("GUEST_FILE_NOT_FOUND", `there is no ${shown}`);
  });
}

async function* pieces(data: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += 65_536)
    yield await Promise.resolve(data.subarray(at, at + 65_536));
}

async function entryOf(path: string, shown: string): Promise<FileEntry> {
  const stat = await present(lstat(path), Buffer.from(shown));
  const type: Type = stat.isFile()
    ? "file"
    : stat.isDirectory()
      ? "directory"
      : stat.isSymbolicLink()
        ? "symlink"
        : "other";
  return {
    path: Buffer.from(shown),
    type,
    sizeBytes: type === "file" ? stat.size : 0,
    mode: stat.mode & 0o7777,
    linkTarget: type === "symlink" ? await readlink(path, "buffer") : Buffer.alloc(0),
  };
}

async function entriesAt(path: string, shown: string, recursive: boolean): Promise<FileEntry[]> {
  const self = await entryOf(path, shown);
  if (self.type !== "directory") return [self];
  const entries: FileEntry[] = [];
  for (const name of (await readdir(path)).sort()) {
    const entry = await entryOf(join(path, name), `${shown}/${name}`);
    entries.push(entry);
    if (recursive && entry.type === "directory")
      entries.push(...(await entriesAt(join(path, name), `${shown}/${name}`, true)));
  }
  return entries;
}

async function changesOf({ active, baseline }: HostTrees): Promise<Changes> {
  const sides = await Promise.all([baseline ?? active, active].map(statesOf));
  const [before, after] = [sides[0] ?? new Map<string, State>(), sides[1] ?? new Map<string, State>()];
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  return names.flatMap((name) => {
    const [was, is] = [before.get(name), after.get(name)];
    const same = was?.type === is?.type && was?.identity === is?.identity;
    if (same && was?.mode === is?.mode) return [];
    return [
      {
        path: Buffer.from(name),
        ...(was === undefined ? {} : { before: was }),
        ...(is === undefined ? {} : { after: is }),
        ...(was?.sha256 === undefined ? {} : { beforeSha256: was.sha256 }),
        ...(is?.sha256 === undefined ? {} : { afterSha256: is.sha256 }),
        modeOnly: same,
      },
    ];
  });
}

type State = FileEntry & { readonly identity: string; readonly sha256?: Uint8Array };

async function statesOf(root: string): Promise<Map<string, State>> {
  const states = new Map<string, State>();
  for (const entry of await entriesAt(root, "", true)) {
    const name = Buffer.from(entry.path).toString().slice(1);
    const sha256 =
      entry.type === "file"
        ? createHash("sha256")
            .update(await readFile(join(root, name)))
            .digest()
        : undefined;
    const identity = Buffer.from(sha256 ?? entry.linkTarget).toString("hex");
    states.set(name, { ...entry, identity, ...(sha256 === undefined ? {} : { sha256 }) });
  }
  return states;
}
