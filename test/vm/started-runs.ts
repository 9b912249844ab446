import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** Runs without a caller that stays, of a state, that are not over: what is over can be read for ten minutes. */
export async function unfinishedRuns(stateDir: string): Promise<string[]> {
  const ids = await readdir(join(stateDir, "runs")).catch((): string[] => []);
  const files = await Promise.all(
    ids.map((id) => readdir(join(stateDir, "runs", id)).catch((): string[] => ["gone"])),
  );
  return ids.filter((_, index) => !/record\.json|gone/.test(String(files[index])));
}

/** Whether the command of one has written something: it is in the middle. */
export async function aRunHasWritten(stateDir: string): Promise<boolean> {
  for (const id of await unfinishedRuns(stateDir)) {
    const output = join(stateDir, "runs", id, "output/stdout");
    const { size } = await stat(output).catch(() => ({ size: 0 }));
    if (size > 0) return true;
  }
  return false;
}
