import { mkdir, writeFile } from "node:fs/promises";
import { imagePath, IMAGE_VIRTUAL_BYTES } from "../../src/image/layout.js";
import type { EnvironmentStore } from "../../src/image/index.js";
import type { Manifest } from "../../src/image/record.js";
import { fingerprintOf } from "../../src/kit/index.js";
import { digestOf } from "../../src/oci/index.js";

/** Puts an environment into a store whose image is a few bytes: for tests that do not look into it. */
export async function sealedEnvironment(
  store: EnvironmentStore,
  name: string,
  manifest: Partial<Manifest> = {},
): Promise<void> {
  for (const directory of [store.layout.images, store.layout.manifests])
    await mkdir(directory, { recursive: true });
  const bytes = Buffer.from(`the image of ${name}`);
  const digest = digestOf(bytes);
  const path = imagePath(store.layout, digest);
  await writeFile(path, bytes);
  await store.writeManifest({
    ...{ format: 1, name, digest, size_bytes: bytes.length, virtual_bytes: IMAGE_VIRTUAL_BYTES },
    ...{ created_at_ms: 1_700_000_000_000, source: "image", recipe: "r", packages: [] },
    fingerprint: await fingerprintOf(path),
    ...manifest,
  });
}
