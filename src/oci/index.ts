/**
 * Images of OCI registries: a reference goes in, proven blobs in a content store come out; and the other way, blobs of this
 * host become an image of a registry. Unpacks nothing and knows nothing of environments.
 *
 * Invariants: what has a place in the store has the digest that is its name; whatever a registry sends is bounded before
 * it is kept; credentials go to the registry itself and to the realm it named first, over TLS or to this machine, and are
 * in no error, log or progress; a pull that is killed at any instant leaves what the next one goes on with.
 */
export { BlobStore, type StorePruneResult, type StoreUsage } from "./blob-store.js";
export type { BlobTap } from "./blob-tap.js";
export { containerCredentials, type ContainerConfiguration } from "./container-configuration.js";
export type { Credentials, CredentialSource } from "./credentials.js";
export { digestOf, isDigest, parseDigest, type Digest } from "./digest.js";
export type { ImageConfig } from "./image-config.js";
export { describeImage, type LocalImage, type NewImage, type NewLayer } from "./image-document.js";
export {
  ImagePulls,
  type ArchiveOptions,
  type ImagePullOptions,
  type ImagePullsOptions,
} from "./image-pulls.js";
export {
  ImagePushes,
  parsePushReference,
  type ImagePushesOptions,
  type ImagePushOptions,
  type ImagePushProgress,
  type PushedImage,
} from "./image-pushes.js";
export { findImage } from "./local-image.js";
export type { LayerDescriptor, Platform } from "./manifest.js";
export type { Compression } from "./media-types.js";
export type { ImagePullProgress, LayerProgress } from "./progress.js";
export type { KnownImage, KnownLayer, OnKnownImage, PulledImage, PulledLayer, StoredImage } from "./pull.js";
export { formatReference, parseReference, type Reference } from "./reference.js";
export { DEFAULT_REGISTRY, type RegistrySettings } from "./registries.js";
export type { RetryOptions } from "./retries.js";
export type { TransportOptions } from "./transport.js";
