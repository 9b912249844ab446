import type { PyroOptions } from "../sdk/index.js";
import type { CliHost } from "./host.js";
import type { Output } from "./output.js";

/** What every command's action gets. */
export interface CommandContext {
  readonly host: CliHost;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly json: boolean;
  readonly pyroOptions: PyroOptions;
}
