import { mkdir, writeFile } from "node:fs/promises";
import { complete, fingerprintOf, sha256File } from "../../src/kit/index.js";
import { IMAGE_VIRTUAL_BYTES, layoutOf } from "../../src/image/index.js";
import { imagePath, manifestPath } from "../../src/image/layout.js";
import { rename } from "node:fs/promises";
import { join } from "node:path";

/** Puts an environment with an empty disk into a cache directory, as a pull would leave it; gives the image's path. */
export async function installFakeEnvironment(cache: string, name = "debian:12"): Promise<string> {
  const layout = layoutOf(cache);
  await mkdir(layout.images, { recursive: true });
  await mkdir(layout.manifests, { recursive: true });
  const made = join(layout.images, "new.qcow2");
  await complete("qemu-img", ["create", "-q", "-f", "qcow2", made, String(IMAGE_VIRTUAL_BYTES)]);
  const digest = `sha256:${await sha256File(made)}`;
  const path = imagePath(layout, digest);
  await rename(made, path);
  await writeFile(
    manifestPath(layout, name),
    JSON.stringify({
      format: 1,
      name,
      digest,
      size_bytes: 196_608,
      virtual_bytes: IMAGE_VIRTUAL_BYTES,
      created_at_ms: Date.now(),
      source: "curated",
      recipe: "test",
      packages: [{ name: "git", version: "1:2.39" }],
      fingerprint: await fingerprintOf(path),
    }),
  );
  return path;
}
