/**
 * Environments: what there is (the catalogue), what is on this host (the store), and how one is made (a pull).
 *
 * Invariants: an image's file name is its SHA-256, it is read-only and never changed; a manifest is written last, so an
 * environment that has one has all of its image; an image is proven whole before each use; root is never needed on the
 * host, and archives are unpacked inside a builder VM; a pull that ends early, however, is taken up again by the next.
 */
export { loadCatalogue, recipeOf, type Catalogue, type EnvironmentRecipe } from "./catalogue.js";
export { layoutOf, IMAGE_VIRTUAL_BYTES, type ImageLayout } from "./layout.js";
export {
  EnvironmentStore,
  type EnvironmentStatus,
  type InstalledImage,
  type InstalledPackage,
} from "./store.js";
export { EnvironmentPulls, type EnvironmentPullsOptions, type PullOptions, type PullResult } from "./pull.js";
export type { PullProgress } from "./progress.js";
export { pruneEnvironments, type PruneOptions, type PruneResult } from "./prune.js";
export { HostPrograms, type HostToolState } from "./host-tools.js";
export type {
  BuildLayer,
  BuildProgress,
  BuildResult,
  BuildStep,
  ImageBuild,
  ImageBuilder,
} from "./builder.js";
