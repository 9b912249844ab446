import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { failpoint, readJsonFile, writeFileAtomic } from "../../kit/index.js";
import type { Secret } from "./secret.js";

const fileSchema = z.array(z.object({ name: z.string(), sourceKind: z.string(), base64: z.string() }));

/** Writes the one file of a workspace that holds its secrets: 0600, in a directory of 0700. */
export async function saveSecrets(path: string, secrets: readonly Secret[]): Promise<void> {
  const kept = secrets.map(({ name, sourceKind, value }) => ({
    ...{ name, sourceKind },
    base64: Buffer.from(value).toString("base64"),
  }));
  await writeFileAtomic(path, JSON.stringify(kept), 0o600, () => failpoint("secrets.written"));
  failpoint("secrets.saved");
}

/** The secrets of a file; undefined where there is none that can be read. */
export async function loadSecrets(path: string): Promise<readonly Secret[] | undefined> {
  await sweepTemporary(path);
  const parsed = fileSchema.safeParse(await readJsonFile(path));
  if (!parsed.success) return undefined;
  return parsed.data.map(({ name, sourceKind, base64 }) => ({
    ...{ name, sourceKind },
    value: Buffer.from(base64, "base64"),
  }));
}

/** Removes the file, and what a write that was killed left of it. */
export async function removeSecrets(path: string): Promise<void> {
  await rm(path, { force: true });
  await sweepTemporary(path);
}

async function sweepTemporary(path: string): Promise<void> {
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(`${basename(path)}.`)) await rm(join(dirname(path), name), { force: true });
}
