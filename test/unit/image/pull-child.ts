// A process of its own that pulls; fault tests kill it. Arguments: the fake host's directory, the environment's name, and
// where it has images of: the archive that it is made of, or the address of a mirror of the default registry.
import { join } from "node:path";
import {
  EnvironmentPulls,
  EnvironmentStore,
  HostPrograms,
  layoutOf,
  loadCatalogue,
} from "../../../src/image/index.js";
import { BlobStore, DEFAULT_REGISTRY, ImagePulls } from "../../../src/oci/index.js";
import { FakeBuilder, noImages } from "./fake-builder.js";
import { FakeLayers } from "./fake-layers.js";

const [directory = "", name = "", from = ""] = process.argv.slice(2);
const isMirror = from.startsWith("http:");
const store = new EnvironmentStore(
  await loadCatalogue(join(directory, "environments")),
  layoutOf(join(directory, "cache")),
);
const opened = async (): Promise<ImagePulls> =>
  new ImagePulls({
    store: await BlobStore.open(join(directory, "oci")),
    registries: isMirror ? { mirrors: { [DEFAULT_REGISTRY]: [from] } } : {},
  });
const pulls = new EnvironmentPulls({
  images: from === "" ? noImages : opened,
  store,
  host: new HostPrograms({ path: join(directory, "bin") }),
  builder: new FakeBuilder(join(directory, "log")),
  layers: new FakeLayers(join(directory, "log")),
});
await pulls.sweepStale();
const result = await pulls
  .pull(name, from === "" || isMirror ? {} : { from: { path: from } })
  .catch((error: unknown) => {
    console.log(JSON.stringify(error));
    process.exit(3);
  });
console.log(JSON.stringify({ reused: result.reused }));
