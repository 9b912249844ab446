/**
 * Virtual machines: starting, saving, restoring, watching and ending them; the memory templates that make starting
 * quick; which accelerator to use; the runtime bundle they boot.
 *
 * Invariants: a start that fails or is aborted leaves no process and no socket. No format is probed and no name inside
 * a disk is followed. QEMU never has this process's privileges to gain. Every wait has a deadline. Whatever a guest
 * or QEMU says is bounded, and made printable before it enters a message.
 */
export { chooseAccelerator, type AcceleratorVerdict, type BootProbe } from "./accelerator.js";
export { bootMachine } from "./boot.js";
export type {
  Disk,
  DiskLayer,
  DiskSlot,
  Isolation,
  Machine,
  MachineDiagnostics,
  MachineExit,
  MachineSpec,
  SavedMachine,
  StartOptions,
  VmmCapabilities,
  VmmDriver,
} from "./driver.js";
export { ownMemory, storeMachine, takeMachine, type Holder, type OwnMemory } from "./memory/holder.js";
export { imageFiles, readImage, storeImage, takeImage, type ImageManifest } from "./memory/image.js";
export { QemuDriver, type QemuDriverOptions } from "./qemu/driver.js";
export { locateQemu } from "./qemu/locate.js";
export type { MountedImage, TemplateShape } from "./templates/key.js";
export type { TemplateFiles } from "./templates/manifest.js";
export type { Template } from "./templates/held.js";
export { TemplateStore, type TemplateReadiness, type TemplateStoreOptions } from "./templates/store.js";
export { locateRuntimeBundle, type RuntimeBundle } from "./runtime-bundle.js";
