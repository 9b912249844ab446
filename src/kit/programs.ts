import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";

/** A list of directories as PATH has it; what is no absolute path depends on where one stands, and may be anybody's. */
export function searchPath(path: string | undefined): string[] {
  return (path ?? "").split(delimiter).filter((directory) => isAbsolute(directory));
}

/** The first program of the name in the directories, in their order; undefined where none has it. */
export async function findProgram(name: string, directories: readonly string[]): Promise<string | undefined> {
  for (const directory of directories) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

/** Whether a path is a file that may be started. */
export async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
