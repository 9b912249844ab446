// See image-pull-program.ts.
import { BlobStore, ImagePulls } from "../../src/oci/index.js";

const [directory = "", registry = "", image = ""] = process.argv.slice(2);
await using store = await BlobStore.open(directory);
await using pulls = new ImagePulls({ store, registries: { insecure: [registry] } });
try {
  const { reused, manifestDigest } = await pulls.pull(`${registry}/${image}`);
  console.log(JSON.stringify({ reused, manifestDigest }));
} catch (error) {
  console.log(JSON.stringify(error));
  process.exitCode = 3;
}
