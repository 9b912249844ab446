import { realpath } from "node:fs/promises";
import { findProgram, packagePath, searchPath } from "../kit/index.js";
import type { HostWorld, StartCommand } from "./chat-host.js";

/** Fetches the package when it is started: nothing of pyro has to be installed. */
export const NPX_START: StartCommand = ["npx", "-y", "-p", "pyro-mcp", "pyro"];

/**
 * How a host starts this pyro: `pyro` where that is what the user's PATH finds, else the launcher by its place.
 * `launcher` is given by tests.
 */
export async function launcherOf(
  { env }: HostWorld,
  launcher: string = packagePath("bin/pyro"),
): Promise<StartCommand> {
  // Run by npx it lies in a cache that is emptied at any time.
  if (launcher.includes("/_npx/")) return NPX_START;
  const onPath = await findPyro(env);
  const isThis = onPath !== undefined && (await realpath(onPath)) === (await realpath(launcher));
  return [isThis ? "pyro" : launcher];
}

/** Where a host finds `pyro`: npm and npx put directories on the PATH of their children that nobody else has. */
export function findPyro(env: HostWorld["env"]): Promise<string | undefined> {
  const directories = searchPath(env["PATH"]).filter(
    (directory) => !/\/node_modules\/\.bin\/?$/.test(directory),
  );
  return findProgram("pyro", directories);
}
