// See environment-push-program.ts.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { EnvironmentPushes, EnvironmentStore, layoutOf, loadCatalogue } from "../../src/image/index.js";
import { containerCredentials, ImagePushes } from "../../src/oci/index.js";

const [catalogue = "", cache = "", tar = "", name = "", reference = ""] = process.argv.slice(2);
const store = new EnvironmentStore(await loadCatalogue(catalogue), layoutOf(cache));
const [registry = ""] = reference.split("/");
await using images = new ImagePushes({
  registries: { insecure: [registry] },
  credentials: containerCredentials({ home: cache, environment: {} }),
});
const packer: ConstructorParameters<typeof EnvironmentPushes>[0]["packer"] = {
  pack: async (_, take) => {
    await take({ tar: createReadStream(tar), usedBytes: (await stat(tar)).size });
    return { entryCount: 1, leftOut: 0 };
  },
};
const hold = (): Disposable => ({ [Symbol.dispose]: () => undefined });
const pushes = new EnvironmentPushes({ store, packer, images: () => Promise.resolve(images), hold }, cache);
await pushes.sweepStale();
try {
  console.log(JSON.stringify(await pushes.push(name, reference, { signal: new AbortController().signal })));
} catch (error) {
  console.log(JSON.stringify(error));
  process.exitCode = 3;
}
