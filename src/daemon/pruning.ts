import type { EnvironmentBuilds } from "../build/index.js";
import {
  deleteEnvironment,
  imagePath,
  pruneEnvironments,
  type EnvironmentPulls,
  type EnvironmentStore,
  type PruneOptions,
  type PruneResult,
} from "../image/index.js";
import { exists } from "../kit/index.js";
import type { ImagesInUse } from "./images-in-use.js";
import type { ImagesOfRegistries } from "./registries.js";
import type { Templates } from "./templates.js";

export interface PruningRooms {
  readonly store: EnvironmentStore;
  readonly inUse: ImagesInUse;
  readonly pulls: Pick<EnvironmentPulls, "names">;
  readonly builds: Pick<EnvironmentBuilds, "prune">;
  readonly templates: Pick<Templates, "removeOrphans">;
  readonly registries: Pick<ImagesOfRegistries, "prune">;
  /** Ends machines that only wait: they hold no environment. */
  readonly clearPool: () => Promise<void>;
  /** Who uses an image, in words for its user. */
  readonly usersOf: (digest: string) => readonly string[];
}

/** Frees space: of what no environment needs, and of one by its name. */
export class Pruning {
  constructor(private readonly rooms: PruningRooms) {}

  /** Environments as asked, then what was of use to them alone. */
  async prune(what: Pick<PruneOptions, "unused" | "usedBeforeMs" | "dryRun">): Promise<PruneResult> {
    const { store, inUse, pulls, builds, templates, registries, clearPool } = this.rooms;
    await clearPool();
    const environments = await pruneEnvironments(store, {
      ...{ ...what, inUse: inUse.digests, pulling: pulls.names },
    });
    if (what.dryRun === true) return environments;
    const orphans = await templates.removeOrphans((digest) => exists(imagePath(store.layout, digest)));
    const layers = await builds.prune(what.unused && what.usedBeforeMs === undefined);
    const all = [environments, orphans, layers];
    // What a pull has fetched so far belongs to no environment yet.
    if (pulls.names.size === 0) {
      const origins = (await store.manifests()).flatMap(({ origin }) => origin?.manifest_digest ?? []);
      all.push(await registries.prune(origins));
    }
    return {
      removed: all.flatMap(({ removed }) => removed),
      freedBytes: all.reduce((sum, { freedBytes }) => sum + freedBytes, 0),
    };
  }

  /** @throws {PyroError} UNKNOWN_ENVIRONMENT, ENVIRONMENT_IN_USE, ENVIRONMENT_BUSY */
  async remove(name: string): ReturnType<typeof deleteEnvironment> {
    const { store, pulls, usersOf, clearPool } = this.rooms;
    await clearPool();
    return await deleteEnvironment(store, name, { users: usersOf, pulling: pulls.names });
  }
}
