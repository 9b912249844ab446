import { afterAll } from "vitest";
import { vmmDriverContract } from "../../contract/vmm-driver.js";
import { FakeVmmDriver } from "../../fakes/fake-vmm.js";
import { MachineDirectory } from "../../fakes/stub-qemu.js";

const directory = new MachineDirectory();
afterAll(() => directory[Symbol.dispose]());

const fake = new FakeVmmDriver();
vmmDriverContract("the fake", () => ({ driver: fake, spec: () => directory.spec() }));

const stub = directory.stubDriver("ok");
vmmDriverContract("the QEMU driver over a stub", () => ({ driver: stub, spec: () => directory.spec() }));
