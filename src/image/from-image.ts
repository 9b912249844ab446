import { basename } from "node:path";
import { DEFAULT_REGISTRY, type ImagePulls } from "../oci/index.js";
import { PyroError } from "../protocol/index.js";
import type { Catalogue } from "./catalogue.js";
import { runImage, type ImageRunOptions } from "./image-run.js";
import { environmentExists } from "./names.js";
import { remakeHint } from "./remake.js";
import type { EnvironmentStatus } from "./status.js";

/** A file of this host that holds images. */
export interface ArchiveFile {
  /** Absolute; an OCI archive, or a directory with an OCI layout. */
  readonly path: string;
  /** Which of several images, as the archive calls it. */
  readonly image?: string;
}

export interface FromImageOptions extends Pick<
  ImageRunOptions,
  "store" | "host" | "builder" | "logger" | "inUse" | "fresh" | "signal" | "onProgress"
> {
  readonly images: () => Promise<Pick<ImagePulls, "pull" | "readArchive">>;
}

/**
 * Makes an environment of the image whose reference is its name.
 * @throws {PyroError} INVALID_ARGUMENT where it came from no registry and is damaged; what the registry, a layer or the
 *   builder fails with
 */
export async function makeOfRegistry(
  status: EnvironmentStatus,
  options: FromImageOptions,
): Promise<{ readonly reused: boolean }> {
  const { name, source, state } = status;
  if (source !== "image") {
    if (state === "installed" && !options.fresh) return { reused: true };
    throw new PyroError("INVALID_ARGUMENT", `environment ${name} was made on this host: no registry has it`, {
      hint: remakeHint(status),
    });
  }
  return await runImage({
    ...options,
    ...{ name, source, reference: name },
    fetch: async (fetching) => {
      try {
        return await (await options.images()).pull(name, fetching);
      } catch (error) {
        fetching.signal.throwIfAborted();
        throw withCurated(PyroError.from(error), name, options.store.catalogue);
      }
    },
  });
}

/**
 * Makes an environment of an image of a file. One that was made of a file before is replaced where the file's image is
 * another; one of any other source only by `fresh`.
 * @throws {PyroError} ENVIRONMENT_EXISTS, IMAGE_ARCHIVE_INVALID, IMAGE_*, BLOB_*; what the builder fails with
 */
export async function makeOfArchive(
  name: string,
  { path, image }: ArchiveFile,
  options: FromImageOptions,
): Promise<{ readonly reused: boolean }> {
  const { store, fresh } = options;
  return await runImage({
    ...options,
    ...{ name, source: "archive", reference: basename(path) },
    requireFree: async () => {
      const there = await store.manifest(name);
      if (there !== undefined && there.source !== "archive" && !fresh)
        throw environmentExists(name, "--force");
    },
    fetch: async (fetching) =>
      await (
        await options.images()
      ).readArchive(path, { ...fetching, ...(image === undefined ? {} : { image }) }),
  });
}

/** Who mistyped one of pyro's own names asked the default registry for it. */
function withCurated(error: PyroError, name: string, { environments }: Catalogue): PyroError {
  if (!name.startsWith(`${DEFAULT_REGISTRY}/`)) return error;
  const isBase = [...environments.values()].some(({ image }) => image === name);
  // Its own name was typed by nobody, as a rule.
  if (isBase) return withHint(error, MIRROR);
  return withHint(error, `pyro's own environments are ${[...environments.keys()].join(", ")}`);
}

const MIRROR = `where that registry cannot be reached, name a mirror of ${DEFAULT_REGISTRY} under [mirrors] in ~/.config/pyro/config.toml`;

function withHint(error: PyroError, more: string): PyroError {
  const { code, message, hint, details, retryable } = error;
  return new PyroError(code, message, { hint: `${hint}; ${more}`, details, retryable, cause: error });
}
