/**
 * The domain: what runs in machines, and what is kept of it. Knows machines, images and networks only through the
 * interfaces of sandbox.ts, which the daemon fills in.
 */
export { resolveCommand } from "./command-line.js";
export {
  networkNotAvailable,
  runOneShot,
  type OneShotCaller,
  type OneShotResult,
  type OneShotSpec,
} from "./one-shot.js";
export { RunRegistry, type RunState, type RunView } from "./run-registry.js";
export type {
  CommandExit,
  CommandSpec,
  OutputChunk,
  Phase,
  RunningCommand,
  Sandbox,
  SandboxFactory,
  SandboxSpec,
} from "./sandbox.js";
