import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlobStore, ImagePulls, type ImagePullsOptions } from "../../../src/oci/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { FakeRegistry } from "../../fakes/fake-registry.js";

export interface Pulling extends AsyncDisposable {
  readonly directory: string;
  readonly registry: FakeRegistry;
  readonly store: BlobStore;
  readonly pulls: ImagePulls;
  /** A puller of its own, over the same store. */
  with(options: Partial<ImagePullsOptions>): ImagePulls;
  /** The error of a pull that fails. */
  failure(reference: string, pulls?: ImagePulls): Promise<PyroError>;
  /** Files of the store, but for its lock. */
  files(which: "blobs/sha256" | "partial"): Promise<string[]>;
}

/** A registry, a store and what pulls from one into the other; waits between tries are short. */
export async function pulling(): Promise<Pulling> {
  const directory = await mkdtemp(join(tmpdir(), "pyro-oci-test-"));
  const registry = await FakeRegistry.start();
  const store = await BlobStore.open(join(directory, "store"));
  const registries = { insecure: [registry.name] };
  const opened: ImagePulls[] = [];
  const with_ = (options: Partial<ImagePullsOptions>): ImagePulls => {
    const pulls = new ImagePulls({ store, registries, retry: { firstMs: 10 }, ...options });
    opened.push(pulls);
    return pulls;
  };
  const pulls = with_({});
  return {
    ...{ directory, registry, store, pulls },
    with: with_,
    failure: async (reference, from = pulls) => {
      try {
        await from.pull(`${registry.name}/${reference}`);
      } catch (error) {
        if (error instanceof PyroError) return error;
        throw error;
      }
      throw new Error(`${reference} was pulled`);
    },
    files: (which) => readdir(join(directory, "store", which)),
    [Symbol.asyncDispose]: async () => {
      for (const each of opened) await each[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
