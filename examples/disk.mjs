// A workspace's whole disk: a snapshot, a mistake, the way back; and a stopped one's files without starting it.
import { Pyro } from "pyro-mcp";

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
try {
  const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
  try {
    await pyro.execWorkspace({ workspaceId, command: "echo precious > /root/notes" });
    await pyro.createSnapshot({ workspaceId, snapshotName: "noted" });
    await pyro.execWorkspace({ workspaceId, command: "rm -rf /root /usr/bin/python3" });
    await pyro.resetWorkspace(workspaceId, { snapshot: "noted" });
    const snapshots = await pyro.listSnapshots(workspaceId);
    console.log(`snapshots: ${snapshots.map(({ snapshotName }) => snapshotName).join(", ")}`);

    await pyro.stopWorkspace(workspaceId);
    const { data } = await pyro.readWorkspaceDisk({ workspaceId, path: "/root/notes" });
    console.log(`on the disk of a stopped machine: ${Buffer.from(data).toString().trim()}`);
  } finally {
    await pyro.deleteWorkspace(workspaceId);
  }
} finally {
  await pyro[Symbol.asyncDispose]();
}
