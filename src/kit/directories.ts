import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** Where pyro keeps things on this host. */
export interface Directories {
  /** What must survive: records, logs, sockets of running machines. */
  readonly state: string;
  /** What can be made again: environments, downloads, templates. */
  readonly cache: string;
  /** The user's configuration. */
  readonly config: string;
}

/**
 * The places of contract section 4. They come from the user's home or from `--state-dir`, never from other inherited
 * variables: chat hosts scrub or invent those. With `--state-dir` everything lives below it.
 */
export function directoriesFor(stateDir?: string): Directories {
  if (stateDir !== undefined) {
    const state = resolve(stateDir);
    return { state, cache: join(state, "cache"), config: join(homedir(), ".config/pyro") };
  }
  if (process.getuid?.() === 0) {
    return { state: "/var/lib/pyro", cache: "/var/cache/pyro", config: join(homedir(), ".config/pyro") };
  }
  return {
    state: join(homedir(), ".local/state/pyro"),
    cache: join(homedir(), ".cache/pyro"),
    config: join(homedir(), ".config/pyro"),
  };
}
