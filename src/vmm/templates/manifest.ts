import { stat } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { readJsonFile, writeFileAtomic } from "../../kit/index.js";
import type { SavedMachine } from "../driver.js";
import type { HeldDigests } from "../memory/holder.js";
import { shapeName, TEMPLATE_FORMAT, type TemplateShape } from "./key.js";
import { layerFacts } from "./layer.js";

const fileSchema = z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size_bytes: z.number().int() });

const manifestSchema = z.object({
  format: z.literal(TEMPLATE_FORMAT),
  key: z.string(),
  /** shapeName: tells the successor of a template which ones it replaces. */
  shape: z.string(),
  created_at_ms: z.number(),
  build_ms: z.number(),
  memory: fileSchema,
  state: fileSchema,
  /** The root's layer, of a template with an environment mounted: it belongs to that memory, and to this image. */
  layer: fileSchema.optional(),
  image: z.string().optional(),
});

/** What was read of a template's files. */
export interface TemplateContents extends HeldDigests {
  readonly layer: Buffer | undefined;
}

/** What stands beside a template's files, written last: a template without one is none. */
export type TemplateManifest = z.infer<typeof manifestSchema>;

/** The files of a template's directory. */
export interface TemplateFiles extends SavedMachine {
  /** There where an environment is mounted. */
  readonly layerFile: string;
}

export function filesOf(directory: string): TemplateFiles {
  const [memoryFile, stateFile, layerFile] = ["memory", "state", "layer"].map((name) =>
    join(directory, name),
  );
  return { memoryFile, stateFile, layerFile } as TemplateFiles;
}

/** Written last; its mtime tells when the template was last used. */
export function manifestPath(directory: string): string {
  return join(directory, "manifest.json");
}

/** The manifest, or undefined where it is missing, torn, or of another format. */
export async function readManifest(directory: string): Promise<TemplateManifest | undefined> {
  const { success, data } = manifestSchema.safeParse(await readJsonFile(manifestPath(directory)));
  return success ? data : undefined;
}

export async function writeManifest(
  directory: string,
  facts: { readonly key: string; readonly shape: TemplateShape; readonly buildMs: number },
  { memory, state, layer }: TemplateContents,
): Promise<TemplateManifest> {
  const { key, shape, buildMs } = facts;
  const { digest } = shape.mounted ?? {};
  const manifest: TemplateManifest = {
    ...{ format: TEMPLATE_FORMAT, key, shape: shapeName(shape) },
    ...{ created_at_ms: Date.now(), build_ms: Math.round(buildMs) },
    memory: { sha256: memory.sha256, size_bytes: memory.sizeBytes },
    state: { sha256: state.sha256, size_bytes: state.sizeBytes },
    ...(layer === undefined ? {} : { layer: layerFacts(layer) }),
    ...(digest === undefined ? {} : { image: digest }),
  };
  await writeFileAtomic(manifestPath(directory), JSON.stringify(manifest, null, 2), 0o400);
  return manifest;
}

/** Whether the files have the sizes that the manifest says; only their digests tell whether they are whole. */
export async function isComplete(
  directory: string,
  { memory, state, layer }: TemplateManifest,
): Promise<boolean> {
  const { memoryFile, stateFile, layerFile } = filesOf(directory);
  const has = async (path: string, { size_bytes }: { readonly size_bytes: number }): Promise<boolean> =>
    (await stat(path)).size === size_bytes;
  try {
    return (
      (await has(memoryFile, memory)) &&
      (await has(stateFile, state)) &&
      (layer === undefined || (await has(layerFile, layer)))
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** What of the template is not what its manifest says; undefined where all is. */
export function difference(
  manifest: Pick<TemplateManifest, "memory" | "state">,
  held: HeldDigests,
): string | undefined {
  for (const name of ["memory", "state"] as const) {
    const { sha256, size_bytes } = manifest[name];
    if (held[name].sizeBytes !== size_bytes)
      return `${name} has ${held[name].sizeBytes} bytes instead of ${size_bytes}`;
    if (held[name].sha256 !== sha256) return `${name} has SHA-256 ${held[name].sha256} instead of ${sha256}`;
  }
  return undefined;
}
