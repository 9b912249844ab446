import type { SeedSource } from "../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import type { Populate } from "./workspace.js";

/** Fills new workspaces from sources of the host. */
export class Seeding {
  from(_source: SeedSource | undefined): Populate {
    return () =>
      Promise.resolve({
        seed: { mode: "empty", seedPath: null, originKind: "empty", originRef: null, entryCount: 0, bytes: 0 },
        warnings: [],
      });
  }
}
