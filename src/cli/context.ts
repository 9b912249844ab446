import type { PyroOptions } from "../sdk/index.js";
import type { CliHost } from "./host.js";
import type { Output } from "./output.js";

/** What every command's action gets. */
export interface CommandContext {
  readonly host: CliHost;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly json: boolean;
  /** Prints the id of what was made, alone. */
  readonly idOnly: boolean;
  readonly pyroOptions: PyroOptions;
}
