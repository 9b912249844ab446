import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { layoutOf, loadCatalogue, EnvironmentStore } from "../src/image/index.js";
import { directoriesFor, packagePath } from "../src/kit/index.js";
import { locateQemu, locateRuntimeBundle, type Isolation } from "../src/vmm/index.js";
import { guestRows } from "./guest-rows.js";
import { machineRows } from "./machine-rows.js";
import { rawMachine } from "./raw-machine.js";
import { report } from "./report.js";
import { restoreRows } from "./restore-rows.js";

// The public benchmark: every figure stands beside a floor of the same run. `--short` takes fewer rounds.
const short = process.argv.includes("--short");
const qemu = await locateQemu();
const bundle = await locateRuntimeBundle();
const { cache } = directoriesFor();
const store = new EnvironmentStore(await loadCatalogue(packagePath("environments")), layoutOf(cache));
const image = await store.require("debian:12");

const status = await promisify(execFile)(process.execPath, [
  join(packagePath("bin"), "pyro"),
  "run",
  "debian:12",
  "--json",
  "--",
  "true",
]);
const isolation = (JSON.parse(status.stdout) as { isolation: Isolation }).isolation;

const rows = await machineRows(qemu.path, bundle, isolation, short ? 3 : 7);
rows.push(...(await restoreRows(qemu.path, bundle, isolation, short ? 5 : 20)));
const scratch = await mkdtemp(join(tmpdir(), "pyro-bench-disk-"));
try {
  const overlay = join(scratch, "root.qcow2");
  await promisify(execFile)("qemu-img", [
    "create",
    "-q",
    "-f",
    "qcow2",
    "-F",
    "qcow2",
    "-b",
    image.path,
    overlay,
  ]);
  await using machine = await rawMachine(qemu.path, bundle, isolation, 1024, [
    { path: overlay, format: "qcow2", readOnly: false, backing: { path: image.path, format: "qcow2" } },
  ]);
  const { durationMs } = await machine.guest.system.mountRoot({
    device: "/dev/vda",
    filesystem: "ext4",
    createWorkspace: true,
  });
  rows.push({ name: "mount of the root", value: durationMs, unit: "ms" });
  rows.push(...(await guestRows(machine.guest, short ? 50 : 200)));
} finally {
  await rm(scratch, { recursive: true, force: true });
}
report(
  rows,
  { isolation, qemu: qemu.version, runtime: bundle.version, guest_kernel: bundle.kernelRelease },
  packagePath("bench/results/latest.json"),
);
