import { open, readdir, readlink, type FileHandle } from "node:fs/promises";
import { OWN_MEMORY_NAME } from "../memory/holder.js";

/**
 * The memory that a machine goes on in, found among what its process has open: nothing else knows it after the death of
 * the daemon that started it. Undefined where the machine has none of its own, or where this process may not look: root
 * without CAP_SYS_PTRACE at a process of another user.
 */
export async function memoryOf(pid: number): Promise<FileHandle | undefined> {
  const directory = `/proc/${pid}/fd`;
  try {
    for (const name of await readdir(directory)) {
      const path = `${directory}/${name}`;
      const target = await readlink(path).catch(() => "");
      if (target.startsWith(`/memfd:${OWN_MEMORY_NAME} `)) return await open(path, "r");
    }
  } catch {
    // It ended, or it is not ours to look at.
  }
  return undefined;
}
