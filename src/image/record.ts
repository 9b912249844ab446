import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import * as z from "zod";
import { sha256File } from "../kit/index.js";

/** A file's fingerprint in a record. */
export const fingerprintSchema = z.strictObject({
  dev: z.string(),
  ino: z.string(),
  size: z.string(),
  mtime_ns: z.string(),
  ctime_ns: z.string(),
});

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);

/** Whether a file has this size and SHA-256; false where there is none. */
export async function fileMatches(
  path: string,
  sizeBytes: number,
  sha256: string,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    if ((await stat(path)).size !== sizeBytes) return false;
    return (await sha256File(path, signal)) === sha256;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** How an environment came to be: one of pyro's own list, an image of a registry or of a file, or made on this host. */
const SOURCES = ["curated", "image", "archive", "build", "workspace"] as const;
export type EnvironmentSource = (typeof SOURCES)[number];

/** What holds for commands in an environment where they say nothing else (image-spec, config.md). */
const configSchema = z.strictObject({
  /** "NAME=value". */
  env: z.array(z.string()),
  /** "", a name or an id, with ":" and a group where there is one: looked up in the environment's own files. */
  user: z.string(),
  working_dir: z.string(),
  entrypoint: z.array(z.string()),
  cmd: z.array(z.string()),
});

/** What an image of a registry was made of. */
const originSchema = z.strictObject({
  /** As it was asked for, with its registry; or the name of an archive's file. */
  reference: z.string(),
  /** Of the image for this platform. */
  manifest_digest: digest,
  layers: z.array(z.strictObject({ digest, size_bytes: z.int().nonnegative() })),
});

/** The workspace that one was saved from, and what that was made of. */
const savedFromSchema = z.strictObject({ workspace_id: z.string(), environment: z.string() });

const packageSchema = z.strictObject({ name: z.string(), version: z.string() });

/** An environment on this host: written last, so that its presence says that all of the image is there. */
export const manifestSchema = z.strictObject({
  format: z.literal(1),
  name: z.string(),
  digest,
  size_bytes: z.int().nonnegative(),
  virtual_bytes: z.int().positive(),
  created_at_ms: z.int(),
  source: z.enum(SOURCES),
  /** What it was made from, as one digest: the recipe, the image's manifest, or a build's inputs. */
  recipe: z.string(),
  packages: z.array(packageSchema),
  config: configSchema.optional(),
  origin: originSchema.optional(),
  saved_from: savedFromSchema.optional(),
  fingerprint: fingerprintSchema,
});
export type Manifest = z.infer<typeof manifestSchema>;

/** The fetch phase is over: these files lie in the archives. */
export const fetchedSchema = z.strictObject({
  format: z.literal(1),
  recipe: z.string(),
  fetched_at_ms: z.int(),
  packages: z.array(
    z.strictObject({
      name: z.string(),
      version: z.string(),
      architecture: z.string(),
      file: z.string(),
      sizeBytes: z.int(),
      sha256: z.string(),
    }),
  ),
  /** Files of the packages that dpkg cannot run without, a part of the above. */
  essential: z.array(z.string()),
});
export type Fetched = z.infer<typeof fetchedSchema>;

/** The assemble phase is over: these layers lie in the pull's directory. */
export const assembledSchema = z.strictObject({
  format: z.literal(1),
  /** Digest of the recipe and of the packages that went in. */
  inputs: z.string(),
  way: z.enum(["mmdebstrap", "staged"]),
  layers: z.array(z.strictObject({ file: z.string(), size_bytes: z.int(), sha256: z.string() })),
  steps: z.array(z.strictObject({ argv: z.array(z.string()), env: z.array(z.string()) })),
});
export type Assembled = z.infer<typeof assembledSchema>;

/** The file that a phase left is whole, as long as the host stays up: it is not flushed. */
export const phaseFileSchema = z.strictObject({
  format: z.literal(2),
  boot: z.string(),
  inputs: z.string(),
  fingerprint: fingerprintSchema,
});

/** Ties later phases to what earlier ones produced. */
export function inputsDigest(fetched: Fetched): string {
  const packages = fetched.packages.map((each) => each.sha256).sort();
  return createHash("sha256")
    .update(JSON.stringify([fetched.recipe, packages]))
    .digest("hex");
}
