import { readFile } from "node:fs/promises";

/**
 * Which boot of this host it is: another text after each (random(4)); undefined where the kernel does not say. What was written
 * and not flushed is whole as long as it stays the same.
 * @param file where it stands
 */
export async function hostBoot(file = "/proc/sys/kernel/random/boot_id"): Promise<string | undefined> {
  return (await readFile(file, "utf8").catch(() => undefined))?.trim();
}
