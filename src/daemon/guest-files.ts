import type { BootedMachine } from "./machines.js";
import type { WorkspaceFiles } from "../workspace/index.js";

export function guestFiles(_booted: BootedMachine): WorkspaceFiles {
  return {} as WorkspaceFiles;
}
