import { digestOf, type Digest } from "./digest.js";
import type { ImageConfig } from "./image-config.js";
import type { Descriptor, Platform } from "./manifest.js";
import type { LocalBlob } from "./upload.js";

/** A layer that is packed by gzip and here. */
export interface NewLayer {
  readonly path: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Of its tar. */
  readonly diffId: Digest;
}

/** What an image is made of. */
export interface NewImage {
  readonly platform: Platform;
  readonly config: Pick<ImageConfig, "env" | "user" | "workingDir" | "entrypoint" | "cmd">;
  readonly createdAtMs: number;
  /** The lowest first. */
  readonly layers: readonly NewLayer[];
  /** What made it, as its history has it. */
  readonly createdBy: string;
  /** Of the manifest: "org.opencontainers.image.title" and its like (image-spec, annotations.md). */
  readonly annotations: Readonly<Record<string, string>>;
}

/** An image that is here as a whole, to be pushed as it is. */
export interface LocalImage {
  readonly manifest: Descriptor & { readonly bytes: Uint8Array };
  readonly config: LocalBlob;
  /** The lowest first. */
  readonly layers: readonly LocalBlob[];
  /** The registry and the repository that its layers came from. */
  readonly origin?: { readonly registry: string; readonly repository: string } | undefined;
}

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";

/**
 * The documents of an image (image-spec, config.md and manifest.md). The same image gives the same bytes: nothing in them
 * says when or where they were written.
 */
export function describeImage(image: NewImage): LocalImage {
  const created = new Date(image.createdAtMs).toISOString();
  const { env, user, workingDir, entrypoint, cmd } = image.config;
  const config = jsonBytes({
    created,
    ...image.platform,
    config: {
      ...(env.length === 0 ? {} : { Env: env }),
      ...(user === "" ? {} : { User: user }),
      ...(workingDir === "" ? {} : { WorkingDir: workingDir }),
      ...(entrypoint.length === 0 ? {} : { Entrypoint: entrypoint }),
      ...(cmd.length === 0 ? {} : { Cmd: cmd }),
    },
    rootfs: { type: "layers", diff_ids: image.layers.map(({ diffId }) => diffId) },
    history: image.layers.map(() => ({ created, created_by: image.createdBy })),
  });
  const configBlob = {
    mediaType: CONFIG,
    digest: digestOf(config),
    sizeBytes: config.length,
    content: config,
  };
  const layers = image.layers.map(({ path, digest, sizeBytes }): LocalBlob => {
    return { mediaType: LAYER, digest, sizeBytes, content: { path } };
  });
  const bytes = jsonBytes({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: descriptorOf(configBlob),
    layers: layers.map(descriptorOf),
    annotations: { "org.opencontainers.image.created": created, ...image.annotations },
  });
  const manifest = { mediaType: MANIFEST, digest: digestOf(bytes), sizeBytes: bytes.length, bytes };
  return { manifest, config: configBlob, layers };
}

function descriptorOf({ mediaType, digest, sizeBytes }: Descriptor): object {
  return { mediaType, digest, size: sizeBytes };
}

function jsonBytes(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}
