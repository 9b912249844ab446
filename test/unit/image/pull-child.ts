// A process of its own that pulls; fault tests kill it. Arguments: the fake host's directory, the environment's name, and
// the archive that it is made of, where it is.
import { join } from "node:path";
import {
  EnvironmentPulls,
  EnvironmentStore,
  HostPrograms,
  layoutOf,
  loadCatalogue,
} from "../../../src/image/index.js";
import { BlobStore, ImagePulls } from "../../../src/oci/index.js";
import { FakeBuilder, noImages } from "./fake-builder.js";

const [directory = "", name = "", archive] = process.argv.slice(2);
const store = new EnvironmentStore(
  await loadCatalogue(join(directory, "environments")),
  layoutOf(join(directory, "cache")),
);
const opened = async (): Promise<ImagePulls> =>
  new ImagePulls({ store: await BlobStore.open(join(directory, "oci")) });
const pulls = new EnvironmentPulls({
  images: archive === undefined ? noImages : opened,
  store,
  host: new HostPrograms({ path: join(directory, "bin") }),
  builder: new FakeBuilder(join(directory, "log")),
});
await pulls.sweepStale();
const result = await pulls
  .pull(name, archive === undefined ? {} : { from: { path: archive } })
  .catch((error: unknown) => {
    console.log(JSON.stringify(error));
    process.exit(3);
  });
console.log(JSON.stringify({ reused: result.reused }));
