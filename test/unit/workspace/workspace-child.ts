// A process of its own that leads a workspace through its life; fault tests kill it. Argument: a directory.
import { join } from "node:path";
import { silentLogger } from "../../../src/kit/index.js";
import { openNetworks } from "../../../src/daemon/networks.js";
import {
  createSnapshot,
  deleteSnapshot,
  exportPath,
  NO_NETWORK,
  Workspaces,
} from "../../../src/workspace/index.js";
import { FakeWorkspaceMachines } from "../../fakes/fake-workspace-machines.js";

const [directory = ""] = process.argv.slice(2);
const machines = new FakeWorkspaceMachines(join(directory, "trees"));
const workspaces = new Workspaces({
  directory: join(directory, "workspaces"),
  machines,
  disks: machines.disks,
  networks: openNetworks({ log: silentLogger }),
  log: silentLogger,
  now: () => Date.now(),
});
await workspaces.load();
const signal = new AbortController().signal;
const fresh = {
  name: "it",
  labels: {},
  environment: "debian:12",
  vcpuCount: 1,
  memMib: 512,
  ttlSeconds: 600,
  network: { ...NO_NETWORK, mode: "egress", allow: ["*"] },
} as const;
const workspace = await workspaces.create({ ...fresh, noPull: false }, async ({ files }) => {
  await files.write(Buffer.from("/workspace/seeded"), one());
  const origin = { mode: "empty", seedPath: null, originKind: "empty", originRef: null } as const;
  return { seed: { ...origin, entryCount: 1, bytes: 10 }, warnings: [] };
});
await workspace.settle(10_000, signal);
await workspace.setNetwork(NO_NETWORK);
await workspace.stop("ttl").result;
await workspace.start().result;
const request = { path: "seeded", outputPath: join(directory, "output"), overwrite: true };
await workspace.work("export", (machine) => exportPath(workspace, machine, request)).result;
await createSnapshot(workspace, "running").result;
await workspace.stop("ttl").result;
await createSnapshot(workspace, "stopped").result;
await workspace.reset("running").result;
await workspace.suspend("idle").result;
await workspace.start().result;
await deleteSnapshot(workspace, "stopped").result;
await workspaces.delete(workspace);

async function* one(): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from("as seeded\n"));
}
