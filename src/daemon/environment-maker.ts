import { stat } from "node:fs/promises";
import { allocatedBytes } from "../kit/index.js";
import {
  configRecord,
  imagePath,
  OwnPlace,
  requireSpace,
  sealImage,
  type EnvironmentStore,
  type HostPrograms,
  type ImageBuilder,
} from "../image/index.js";
import { PyroError } from "../protocol/index.js";
import type {
  EnvironmentPlace,
  MakeEnvironment,
  WorkspaceDisks,
  WorkspaceLayers,
} from "../workspace/index.js";
import { copyDisk, type DiskCopierOptions } from "./disk-copier.js";
import type { ImagesInUse } from "./images-in-use.js";
import { activeLayer } from "./workspace-disk.js";

export interface EnvironmentMakerOptions extends DiskCopierOptions {
  readonly builder: Pick<ImageBuilder, "makeDisk">;
  readonly store: EnvironmentStore;
  readonly host: HostPrograms;
  readonly inUse: ImagesInUse;
}

/** How much of the work is copying; the rest is hashing the image. */
const COPY_SHARE = 0.7;
const DISK = "disk.qcow2";

/** Makes environments of workspaces' disks: a copy of the files in a fresh file system, sealed as an image. */
export function environmentMaker(options: EnvironmentMakerOptions): WorkspaceDisks["claim"] {
  return async (name, { overwrite }) => {
    const place = await OwnPlace.open(options.store, name, { overwrite });
    return {
      make: async (layers, request) => await make(options, place, layers, request),
      [Symbol.asyncDispose]: place[Symbol.asyncDispose].bind(place),
    } satisfies EnvironmentPlace;
  };
}

async function make(
  options: EnvironmentMakerOptions,
  place: OwnPlace,
  layers: WorkspaceLayers,
  { savedFrom, config, onContent, beforeSealing, report, signal }: MakeEnvironment,
): ReturnType<EnvironmentPlace["make"]> {
  const { store, host, inUse } = options;
  using _held = inUse.hold(layers.imageDigest);
  const image = imagePath(store.layout, layers.imageDigest);
  const source = activeLayer(layers, image);
  const disk = place.path(DISK);
  // The disk takes what all layers take at most; so much again stays free beside it.
  await requireSpace(place.directory, 2 * (await chainBytes(store, layers)), "saving the workspace");
  report({ message: "starting the machine that copies it", progress: 0 });
  await options.builder.makeDisk(disk);
  const { entryCount } = await copyDisk(options, {
    ...{ source, target: disk, base: { path: image, format: "qcow2" }, signal },
    ...(onContent === undefined
      ? {}
      : { onPart: ({ path, linkTarget, data }) => onContent(partOf(path, linkTarget, data)) }),
    onProgress: (done, total) =>
      report({ message: "copying its files", progress: COPY_SHARE * (total === 0 ? 0 : done / total) }),
  }).catch((error: unknown) => {
    throw notSaved(error);
  });
  beforeSealing();
  const { digest, size_bytes: sizeBytes } = await sealImage({
    ...{ store, host, signal, directory: place.directory },
    from: { path: disk, by: "move" },
    usedBytes: allocatedBytes(await stat(disk)),
    manifest: {
      ...{ name: place.name, source: "workspace", recipe: layers.imageDigest, packages: [] },
      saved_from: { workspace_id: savedFrom.workspaceId, environment: savedFrom.environment },
      ...(config === null ? {} : { config: configRecord(config) }),
    },
    inUse: () => Promise.resolve(inUse.digests),
    onProgress: (done, total, message) =>
      report({ message, progress: COPY_SHARE + (total === 0 ? 0 : (1 - COPY_SHARE) * (done / total)) }),
  });
  return { name: place.name, digest, sizeBytes, entryCount };
}

/** A part without a name goes on with what the one before was of. */
function partOf(path: Uint8Array, linkTarget: Uint8Array, data: Uint8Array) {
  return path.length === 0 ? { data } : { path, linkTarget, data };
}

async function chainBytes(store: EnvironmentStore, layers: WorkspaceLayers): Promise<number> {
  const files = [
    imagePath(store.layout, layers.imageDigest),
    layers.baseline,
    ...layers.sealed,
    layers.active,
  ];
  const sizes = await Promise.all(files.map(async (file) => allocatedBytes(await stat(file))));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

/** The words of making an image are not about saving a workspace. */
function notSaved(thrown: unknown): PyroError {
  const error = PyroError.from(thrown);
  if (error.code !== "ENVIRONMENT_BUILD_FAILED") return error;
  const { hint, details, retryable } = error;
  return new PyroError(error.code, `the disk of the workspace cannot be copied: ${error.message}`, {
    ...{ hint, details, retryable, cause: thrown },
  });
}
