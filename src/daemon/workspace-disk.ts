import { link, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { failpoint, freshId, sealFile, syncDirectory, syncFile } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import type { DiskLayer } from "../vmm/index.js";
import type { WorkspaceLayers } from "../workspace/index.js";
import { BASELINE_DISK, ROOT_DISK } from "./disks.js";
import type { BootedMachine } from "./machines.js";
import type { Overlays } from "./overlay.js";

/** In a machine's directory, before it is linked to where it stays: QEMU finds files by names relative to that. */
const ACTIVE_LAYER = "active.qcow2";

export function baselineLayer({ baseline }: Pick<WorkspaceLayers, "baseline">, imagePath: string): DiskLayer {
  return { path: baseline, format: "qcow2", backing: { path: imagePath, format: "qcow2" } };
}

/** The layers below the active one. */
function sealedLayers(
  { baseline, sealed }: Pick<WorkspaceLayers, "baseline" | "sealed">,
  imagePath: string,
): DiskLayer {
  return sealed.reduce<DiskLayer>(
    (backing, path) => ({ path, format: "qcow2", backing }),
    baselineLayer({ baseline }, imagePath),
  );
}

/** All of them. */
export function activeLayer(layers: WorkspaceLayers, imagePath: string): DiskLayer {
  return { path: layers.active, format: "qcow2", backing: sealedLayers(layers, imagePath) };
}

/** Puts an empty active layer in the place of whatever is there; it is durable before it is. */
export async function renewActive(
  overlays: Overlays,
  layers: WorkspaceLayers,
  imagePath: string,
): Promise<void> {
  const fresh = `${layers.active}.${freshId("new")}`;
  await overlays.make(sealedLayers(layers, imagePath), fresh);
  await syncFile(fresh);
  await rename(fresh, layers.active);
}

/**
 * Ends the first layer while the machine runs: the guest flushes and holds its writes, QEMU puts an empty layer on top
 * and shows what is below in the second disk's slot. Root in the guest cannot reach the file any more, except to read.
 */
export async function sealBaseline(
  booted: BootedMachine,
  overlays: Overlays,
  imagePath: string,
  layers: Pick<WorkspaceLayers, "baseline" | "active">,
): Promise<void> {
  const overlay = join(booted.directory, ACTIVE_LAYER);
  await overlays.make(baselineLayer(layers, imagePath), overlay);
  await link(overlay, layers.active);
  await whileHeld(booted, "its baseline", () => booted.machine.sealDisk(ROOT_DISK, BASELINE_DISK, overlay));
  await sealFile(layers.baseline);
}

/** Ends the active layer while the machine runs, likewise, without a slot: `layers.active` is where the new one stands. */
export async function putLayer(
  booted: BootedMachine,
  overlays: Overlays,
  imagePath: string,
  layers: WorkspaceLayers,
  name: string,
): Promise<void> {
  const overlay = await makeLayer(booted, overlays, imagePath, layers, name);
  await whileHeld(booted, "its disk", async () => {
    failpoint("layer.held");
    await booted.machine.putLayer(ROOT_DISK, overlay, name);
    failpoint("layer.put");
  });
}

/** An empty layer for a machine that runs, whole and durable before it has the name under which it stays. */
export async function makeLayer(
  { directory }: BootedMachine,
  overlays: Overlays,
  imagePath: string,
  layers: WorkspaceLayers,
  name: string,
): Promise<string> {
  const overlay = join(directory, `${name}.qcow2`);
  await overlays.make(sealedLayers(layers, imagePath), overlay);
  await syncFile(overlay);
  await link(overlay, layers.active);
  await syncDirectory(dirname(layers.active));
  return overlay;
}

/** The guest flushes what it has, and holds what it writes until this is done. */
async function whileHeld({ guest }: BootedMachine, what: string, work: () => Promise<void>): Promise<void> {
  const call = { timeoutMs: LIMITS.agentCallTimeoutMs };
  await guest.system.holdWrites({ hold: true, maxMs: LIMITS.holdWritesMs }, call);
  let wasHeld = false;
  try {
    await work();
  } finally {
    ({ wasHeld } = await guest.system.holdWrites({ hold: false }, call));
  }
  if (wasHeld) return;
  throw new PyroError("VM_UNRESPONSIVE", `the guest went on writing before ${what} was sealed`, {
    hint: "is the host overloaded? try again",
    retryable: true,
  });
}

/** The guest writes out what it has. */
export async function flush(booted: BootedMachine): Promise<void> {
  await whileHeld(booted, "its disk", () => Promise.resolve());
}

/** A guest whose daemon died while it held its writes goes on at once; otherwise it does so by itself. */
export async function letGoOfWrites({ guest }: BootedMachine): Promise<void> {
  await guest.system
    .holdWrites({ hold: false }, { timeoutMs: LIMITS.agentCallTimeoutMs })
    .catch(() => undefined);
}
