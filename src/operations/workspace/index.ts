import type { Declaration } from "../operation.js";
import { workspaceCreate } from "./create.js";
import { workspaceDiskExport, workspaceDiskList, workspaceDiskRead } from "./disk.js";
import { workspaceCancel, workspaceExec, workspaceLogs } from "./exec.js";
import {
  workspaceFileEdit,
  workspaceFileList,
  workspaceFileRead,
  workspaceFileWrite,
  workspacePatchApply,
} from "./files.js";
import { workspaceDelete, workspaceReset, workspaceStart, workspaceStop } from "./life-cycle.js";
import { workspaceFork } from "./fork.js";
import { workspaceList } from "./list.js";
import { serviceList, serviceLogs, serviceStart, serviceStatus, serviceStop } from "./services.js";
import { workspaceNetwork, workspaceNetworkSet, workspacePortList } from "./network.js";
import { snapshotCreate, snapshotDelete, snapshotList } from "./snapshots.js";
import {
  shellAttach,
  shellClose,
  shellList,
  shellOpen,
  shellRead,
  shellResize,
  shellSignal,
  shellWrite,
} from "./shells.js";
import { workspaceStatus } from "./status.js";
import { workspaceSummary } from "./summary.js";
import { workspaceDiff, workspaceExport, workspaceSyncPush } from "./transfers.js";
import { workspaceTop } from "./top.js";
import { workspaceUpdate } from "./update.js";

/** What can be done with workspaces, in the order in which the help teaches it. */
export const WORKSPACE_OPERATIONS: readonly Declaration[] = [
  workspaceCreate,
  workspaceList,
  workspaceUpdate,
  workspaceStatus,
  workspaceSyncPush,
  workspaceExec,
  workspaceCancel,
  workspaceLogs,
  workspaceSummary,
  workspaceFileList,
  workspaceFileRead,
  workspaceFileWrite,
  workspaceFileEdit,
  workspacePatchApply,
  workspaceDiff,
  workspaceExport,
  snapshotCreate,
  snapshotList,
  snapshotDelete,
  workspaceReset,
  serviceStart,
  serviceList,
  serviceStatus,
  serviceLogs,
  serviceStop,
  workspaceNetwork,
  workspaceNetworkSet,
  workspacePortList,
  shellOpen,
  shellList,
  shellRead,
  shellWrite,
  shellSignal,
  shellResize,
  shellClose,
  shellAttach,
  workspaceStop,
  workspaceStart,
  workspaceDiskList,
  workspaceDiskRead,
  workspaceDiskExport,
  workspaceFork,
  workspaceDelete,
  workspaceTop,
];
