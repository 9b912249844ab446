/**
 * The command line: one command per operation, and the few that stream. Results go to standard output, everything else
 * to standard error; `--json` prints one document. Never talks to a machine, only to the daemon through the SDK.
 */
export { readCommandLine, runCli, type CommandLine } from "./program.js";
export type { CliHost } from "./host.js";
export { processHost } from "./process-host.js";
