import { cli, type CliSetup } from "./cli-host.js";
import { startFakeDaemon, type FakeScript } from "./fake-daemon.js";
import { temporaryState } from "./state-directory.js";

/** One command against a daemon of its own that does what a script says, and the calls that this got. */
export async function pyro(args: readonly string[], setup: CliSetup & { script?: FakeScript } = {}) {
  await using state = await temporaryState();
  await using daemon = await startFakeDaemon(state.path, setup.script);
  return { ...(await cli(["--state-dir", state.path, ...args], setup)), calls: daemon.calls };
}
