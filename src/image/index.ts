/**
 * Environments: what there is (the catalogue), what is on this host (the store), and how one is made (a pull).
 *
 * Invariants: an image's file name is its SHA-256, it is read-only and never changed; a manifest is written last, so an
 * environment that has one has all of its image; an image is proven whole before each use; root is never needed on the
 * host, and archives are unpacked inside a builder VM; a pull that ends early, however, is taken up again by the next.
 */
export { loadCatalogue } from "./catalogue.js";
export {
  imagePath,
  layoutOf,
  makeCacheDirectory,
  safeName,
  IMAGE_VIRTUAL_BYTES,
  type ImageLayout,
} from "./layout.js";
export { EnvironmentStore } from "./store.js";
export type { EnvironmentConfig, EnvironmentStatus, InstalledImage } from "./status.js";
export { requireOwnName } from "./names.js";
export { OwnPlace } from "./own-place.js";
export { takeDirectory } from "./taken-directory.js";
export { copyEmptyDisk } from "./disk.js";
export { configRecord } from "./config-record.js";
export { fingerprintSchema, type EnvironmentSource } from "./record.js";
export { sealImage, type SealRequest } from "./seal.js";
export { EnvironmentPulls, type EnvironmentPullsOptions, type PullOptions } from "./pull.js";
export type { PullProgress } from "./progress.js";
export { EnvironmentPushes, type PushProgress, type PushResult } from "./push.js";
export { deleteEnvironment } from "./deletion.js";
export { pruneEnvironments, type PruneOptions, type PruneResult } from "./prune.js";
export { HostPrograms, requireSpace, toolRemedy, type ToolRemedy } from "./host-tools.js";
export { readHostSources } from "./host-sources.js";
export { formatSources, type AptSource } from "./sources.js";
export type { BuildLayer, ImageBuild, ImageBuilder } from "./builder.js";
export type { LayerMaker, LayerRequest, LayerResult } from "./layer-maker.js";
export type { ImagePacker } from "./packer.js";
