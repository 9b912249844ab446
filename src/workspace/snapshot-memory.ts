import { cp, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { failpoint, freshId, syncDirectory } from "../kit/index.js";
import { allocatedBytes } from "./allocated.js";
import type { SnapshotRecord, WorkspacePaths } from "./record.js";

/**
 * The memory of a snapshot, in a directory of its own: an image that a machine goes on from, and what ran in it, as it is
 * on the host. It has its name once it is whole; a snapshot that names it comes after that.
 */
export class SnapshotMemory {
  readonly directory: string;
  readonly #making: string;

  constructor(
    private readonly paths: Pick<WorkspacePaths, "snapshots">,
    readonly id: string = freshId("memory"),
  ) {
    this.directory = join(paths.snapshots, id);
    this.#making = `${this.directory}${MAKING}`;
  }

  /** A directory to be filled: an empty one for the image, and beside that `runningOf`. */
  async begin(): Promise<string> {
    await mkdir(imageOf(this.#making), { recursive: true, mode: 0o700 });
    return this.#making;
  }

  /** What was begun is whole. */
  async place(): Promise<void> {
    await rename(this.#making, this.directory);
    await syncDirectory(this.paths.snapshots);
    failpoint("memory.placed");
  }

  /** Removes it, and what was begun. */
  async remove(): Promise<void> {
    for (const path of [this.directory, this.#making]) await rm(path, { recursive: true, force: true });
  }

  /** What it takes on the disk. */
  async bytes(): Promise<number> {
    const files = await readdir(this.directory, { recursive: true });
    const sizes = await Promise.all(files.map((file) => allocatedBytes(join(this.directory, file))));
    return sizes.reduce((sum, size) => sum + size, 0);
  }
}

/** What the directory of one ends with while it is made. */
const MAKING = ".making";

/** Where the image of a memory lies in its directory. */
export function imageOf(directory: string): string {
  return join(directory, "image");
}

type RunningPaths = Pick<WorkspacePaths, "commands" | "ports" | "secretHolders">;

/** Where the files lie of what ran. */
export function runningOf(directory: string): RunningPaths {
  return {
    commands: join(directory, "commands"),
    ports: join(directory, "ports.json"),
    secretHolders: join(directory, "secret-holders.json"),
  };
}

/** Removes those that no snapshot names. */
export async function sweepMemories(
  { snapshots: directory }: Pick<WorkspacePaths, "snapshots">,
  snapshots: readonly SnapshotRecord[],
): Promise<void> {
  const needed = new Set(snapshots.map(({ memory }) => memory?.id));
  const names = await readdir(directory).catch(() => []);
  const unneeded = names.filter((name) => !needed.has(name));
  await Promise.all(unneeded.map((name) => rm(join(directory, name), { recursive: true, force: true })));
}

/** Copies what is known of commands that run, from where their output was, who was given secrets, and which ports there were. */
export async function copyRunning(
  sequences: readonly number[],
  from: RunningPaths,
  into: RunningPaths,
): Promise<void> {
  for (const file of ["secretHolders", "ports"] as const)
    await cp(from[file], into[file]).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    });
  for (const sequence of sequences) {
    const name = String(sequence);
    await cp(join(from.commands, name), join(into.commands, name), { recursive: true });
  }
}
