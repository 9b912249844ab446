import { gzipSync } from "node:zlib";
import { encodeTarHeader, tarEntry, tarPadding } from "../../src/kit/index.js";
import { digestOf } from "../../src/oci/index.js";
import { OCI_MANIFEST, tarOf } from "./fake-registry.js";

/** By name. */
type Files = Map<string, Buffer>;

/** A layout with an image of one layer for each seed; of several seeds, each image has its name. */
export function layoutOfImages(...seeds: readonly { readonly seed: number; readonly ref?: string }[]): Files {
  const files: Files = new Map([["oci-layout", Buffer.from('{"imageLayoutVersion":"1.0.0"}')]]);
  const put = (bytes: Buffer): { digest: string; size: number } => {
    const digest = digestOf(bytes);
    files.set(`blobs/sha256/${digest.slice(7)}`, bytes);
    return { digest, size: bytes.length };
  };
  const putJson = (value: object): { digest: string; size: number } =>
    put(Buffer.from(JSON.stringify(value)));
  const manifests = seeds.map(({ seed, ref }) => {
    const tar = tarOf(seed);
    const layer = put(gzipSync(tar, { level: 1 }));
    const config = putJson({
      ...{ os: "linux", architecture: "amd64", config: { Env: ["A=1"], User: "app" } },
      rootfs: { type: "layers", diff_ids: [digestOf(tar)] },
    });
    const manifest = putJson({
      schemaVersion: 2,
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
      layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...layer }],
    });
    const annotations = ref === undefined ? {} : { "org.opencontainers.image.ref.name": ref };
    return { mediaType: OCI_MANIFEST, ...manifest, annotations };
  });
  return files.set("index.json", Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
}

/** The archive of a layout. */
export const tarOfFiles = (files: Files): Buffer =>
  Buffer.concat([
    ...[...files].flatMap(([name, bytes]) => [
      encodeTarHeader(tarEntry(name, "0", { size: bytes.length })),
      bytes,
      Buffer.alloc(tarPadding(bytes.length)),
    ]),
    Buffer.alloc(1024),
  ]);
