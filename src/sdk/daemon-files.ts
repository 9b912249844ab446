import { join } from "node:path";

/** Where the daemon of a state directory listens. */
export function socketPathOf(stateDir: string): string {
  return join(stateDir, "daemon.sock");
}

/** Where the daemon of a state directory writes its log, as JSON lines. */
export function logPathOf(stateDir: string): string {
  return join(stateDir, "daemon.log");
}
