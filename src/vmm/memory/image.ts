import { chmod } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { failpoint, readJsonFile, writeFileAtomic } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import type { SavedMachine } from "../driver.js";
import { difference } from "../templates/manifest.js";
import { holdMachine, storeMachine, type HeldFile, type Holder } from "./holder.js";

/** Of the files of an image. */
const FORMAT = 1;

const fileSchema = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  size_bytes: z.number().int().min(0),
  used_bytes: z.number().int().min(0),
});

const manifestSchema = z.object({
  format: z.literal(FORMAT),
  /** Of the shape and of what it rests on (templates/key.ts): it goes on where that is the same, and nowhere else. */
  key: z.string(),
  created_at_ms: z.number(),
  memory: fileSchema,
  state: fileSchema,
});

/** What stands beside an image's files, written last: an image without one is none. */
export type ImageManifest = z.infer<typeof manifestSchema>;

/** A running machine that stands still, to be put on the disk. */
export interface ImageSource {
  /** Where its RAM is read. */
  readonly memoryFile: string;
  readonly key: string;
}

/** Where the device state goes before the memory is copied: the directory is the image's, and exists, private. */
export function imageFiles(directory: string): SavedMachine {
  return { memoryFile: join(directory, "memory"), stateFile: join(directory, "state") };
}

/**
 * Completes an image whose device state stands already: copies what is used of the memory, and writes the manifest.
 * @throws {PyroError} DISK_FULL, VM_SAVE_FAILED; what is written by then stays, and is no image
 */
export async function storeImage(
  program: string,
  directory: string,
  { memoryFile, key }: ImageSource,
  signal?: AbortSignal,
): Promise<ImageManifest> {
  const files = imageFiles(directory);
  const from = { memoryFile, stateFile: files.stateFile };
  const { memory, state } = await storeMachine(program, from, files.memoryFile, signal);
  failpoint("suspend.copied");
  const manifest: ImageManifest = {
    ...{ format: FORMAT, key, created_at_ms: Date.now() },
    memory: toFacts(memory),
    state: toFacts(state),
  };
  await chmod(files.stateFile, 0o400);
  await chmod(files.memoryFile, 0o400);
  await writeFileAtomic(join(directory, MANIFEST), JSON.stringify(manifest, null, 2), 0o400);
  return manifest;
}

const MANIFEST = "manifest.json";

function toFacts({ sha256, sizeBytes, usedBytes }: HeldFile): ImageManifest["memory"] {
  return { sha256, size_bytes: sizeBytes, used_bytes: usedBytes };
}

/** What an image says of itself; undefined where there is none, or none of this version. Nothing is proven by it. */
export async function readImage(directory: string): Promise<ImageManifest | undefined> {
  const { success, data } = manifestSchema.safeParse(await readJsonFile(join(directory, MANIFEST)));
  return success ? data : undefined;
}

/**
 * Takes an image into memory and proves it by the way: what a machine goes on from are the very bytes whose digest was
 * taken. With `own` one machine goes on in them; else any number starts from them.
 * @throws {PyroError} SAVED_MEMORY_STALE when it is of another machine, VMM or bundle; SAVED_MEMORY_DAMAGED when it is
 *   not what its manifest says; MEMORY_FULL
 */
export async function takeImage(
  program: string,
  directory: string,
  key: string,
  options: { readonly own: boolean; readonly signal?: AbortSignal },
): Promise<Holder> {
  const manifest = await readImage(directory);
  if (manifest === undefined) throw damaged("its manifest is missing or cannot be read");
  if (manifest.key !== key) throw stale();
  const files = imageFiles(directory);
  const holder = await holdMachine(program, files, options).catch((error: unknown) => {
    throw error instanceof PyroError && error.code === "TEMPLATE_DAMAGED" ? damaged(error.message) : error;
  });
  const wrong = difference(manifest, holder.digests);
  if (wrong === undefined) return holder;
  await holder[Symbol.asyncDispose]();
  throw damaged(wrong);
}

function damaged(how: string): PyroError {
  return new PyroError("SAVED_MEMORY_DAMAGED", `the saved memory of a machine is damaged: ${how}`, {
    hint: "`pyro workspace stop ID` gives the memory up, and the workspace then starts from its disk",
  });
}

function stale(): PyroError {
  return new PyroError(
    "SAVED_MEMORY_STALE",
    "the saved memory was made by another QEMU, another version of pyro, or on another processor, and cannot go on here",
    {
      hint: "`pyro workspace stop ID` gives the memory up, and the workspace then starts from its disk",
    },
  );
}
