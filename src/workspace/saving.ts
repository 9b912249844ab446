import { failpoint } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { Operation } from "./operation.js";
import { SecretsInContent } from "./secrets/index.js";
import type { WorkspaceRecord } from "./record.js";
import type { SavedEnvironment } from "./workspace-disks.js";
import type { WorkspaceLayers } from "./workspace-machine.js";
import type { Workspace } from "./workspace.js";

/** What an environment is to be. */
export interface SaveRequest {
  /** Of this host's own environments. */
  readonly name: string;
  /** Also in the place of one of that name. */
  readonly overwrite: boolean;
  /** Also while files on the disk hold a secret of the workspace. */
  readonly allowSecrets: boolean;
}

/** Shown of what holds secrets; all are counted. */
const SHOWN_PATHS = 20;

/**
 * Makes an environment of what a workspace's disk holds, without /workspace and without what is the machine's own. Of a
 * running one the disk is taken as a snapshot takes it, and what runs goes on; of a suspended one as its guest flushed it.
 * The operation rejects with INVALID_ARGUMENT, ENVIRONMENT_EXISTS, ENVIRONMENT_BUSY, SECRET_ON_DISK, SNAPSHOT_LIMIT,
 * DISK_FULL, ENVIRONMENT_BUILD_FAILED; the workspace is as it was then.
 */
export function saveEnvironment(workspace: Workspace, request: SaveRequest): Operation<SavedEnvironment> {
  return workspace.change("save", async ({ chain, disks, record, machine, report }) => {
    const { signal, secrets } = workspace;
    await using place = await disks.claim(request.name, request);
    if (machine !== undefined) {
      report({ message: "taking its disk" });
      await chain.seal(null, machine);
    }
    failpoint("environment.taken");
    const found = new SecretsInContent(secrets.redactor);
    const content = secrets.redactor.isEmpty ? {} : { onContent: found.push.bind(found) };
    const layers = machine === undefined ? chain.layers : belowActive(chain.layers);
    const { workspaceId, environment, config } = record;
    return await place.make(layers, {
      ...{ signal, report, ...content, savedFrom: { workspaceId, environment }, config },
      beforeSealing: () => {
        if (!request.allowSecrets && found.paths.length > 0) throw secretsOnDisk(record, found.paths);
        failpoint("environment.copied");
      },
    });
  });
}

/** The layers that nobody writes to any more, as a disk of their own. */
function belowActive(layers: WorkspaceLayers): WorkspaceLayers {
  const top = layers.sealed.at(-1);
  if (top === undefined) throw new Error("no layer was sealed");
  return { ...layers, sealed: layers.sealed.slice(0, -1), active: top };
}

function secretsOnDisk({ workspaceId }: WorkspaceRecord, paths: readonly string[]): PyroError {
  const shown = paths.slice(0, SHOWN_PATHS).map((path) => JSON.stringify(path));
  const more = paths.length > SHOWN_PATHS ? ` and ${paths.length - SHOWN_PATHS} more` : "";
  return new PyroError(
    "SECRET_ON_DISK",
    `on the disk of workspace ${workspaceId} a secret stands in ${shown.join(", ")}${more}`,
    {
      hint: "remove it there and save again, or keep it in the environment with --allow-secrets (`allow_secrets`)",
      details: { paths: paths.slice(0, SHOWN_PATHS), count: paths.length },
    },
  );
}
