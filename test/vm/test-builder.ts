import { builderVm } from "../../src/daemon/builder-vm.js";
import { Machines } from "../../src/daemon/machines.js";
import { connectGuest } from "../../src/guest/index.js";
import type { ImageBuilder } from "../../src/image/index.js";
import { silentLogger, Slots } from "../../src/kit/index.js";
import { locateRuntimeBundle, QemuDriver } from "../../src/vmm/index.js";

/** Real machines, one at a time, in a directory of the test's own. */
export function testMachines(directory: string): Machines {
  return new Machines({
    directory,
    driver: new QemuDriver({ bundle: () => locateRuntimeBundle() }),
    slots: new Slots(1),
    connect: (socket, options) => connectGuest(socket, { hostVersion: "test", ...options }),
    log: silentLogger,
  });
}

/** A real builder, as a daemon has it. */
export function testBuilder(machines: Machines, unpackMs?: number): ImageBuilder {
  return builderVm({
    ...{ machines, log: silentLogger, isolation: () => Promise.resolve("software") },
    emptyDisk: async () => (await locateRuntimeBundle()).emptyDiskPath,
    ...(unpackMs === undefined ? {} : { unpackMs }),
  });
}
