import { execFile } from "node:child_process";
import { constants, rmSync } from "node:fs";
import { chmod, copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { EnvironmentStore, layoutOf, loadCatalogue } from "../src/image/index.js";
import type * as Sdk from "../src/index.js";
import { directoriesFor, packagePath } from "../src/kit/index.js";
import { processesOf } from "../src/operations/bench/processes.js";

export const ENVIRONMENT = "debian:12";
const execute = promisify(execFile);

/** A daemon of the built command in a state directory of its own, so that what it leaves behind can be counted. */
export interface BenchState extends AsyncDisposable {
  readonly stateDir: string;
  /** The environment's image, as the daemon has it. */
  readonly image: string;
  readonly pyro: Sdk.Pyro;
  /** Runs the command to its end; gives what it printed. */
  readonly command: (...args: string[]) => Promise<string>;
}

/** What a benchmark that is interrupted does: ends all that works below its directory, and removes it. */
export function abandon(stateDir: string): void {
  for (const { pid } of processesOf(stateDir)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended meanwhile.
    }
  }
  rmSync(stateDir, { recursive: true, force: true, maxRetries: 5 });
}

/** `cacheDir`: where the environment was pulled to. */
export async function openBenchState(cacheDir = directoriesFor().cache): Promise<BenchState> {
  const stateDir = await mkdtemp(join(tmpdir(), "pyro-bench-state-"));
  const image = await copyEnvironment(cacheDir, join(stateDir, "cache"));
  const { Pyro } = (await import(pathToFileURL(packagePath("dist/index.js")).href)) as typeof Sdk;
  const pyro = new Pyro({ stateDir });
  const program = packagePath("bin/pyro");
  const command = async (...args: string[]): Promise<string> => {
    const { stdout } = await execute(process.execPath, [program, "--state-dir", stateDir, ...args]);
    return stdout;
  };
  return {
    ...{ stateDir, image, pyro, command },
    [Symbol.asyncDispose]: async () => {
      await pyro.stopDaemon({ force: true });
      await pyro[Symbol.asyncDispose]();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

/** The environment and the accelerator's verdict; templates and the like are made anew. */
async function copyEnvironment(from: string, to: string): Promise<string> {
  const catalogue = await loadCatalogue(packagePath("environments"));
  const { path } = await new EnvironmentStore(catalogue, layoutOf(from)).require(ENVIRONMENT);
  const layout = layoutOf(to);
  for (const directory of [to, layout.images, layout.manifests]) {
    await mkdir(directory);
    // Whatever the umask says: QEMU reads images under a uid of its own where there is root.
    await chmod(directory, 0o755);
  }
  await chmod(join(to, ".."), process.getuid?.() === 0 ? 0o711 : 0o700);
  const copy = (source: string, target: string): Promise<void> =>
    copyFile(source, target, constants.COPYFILE_FICLONE);
  const image = join(layout.images, basename(path));
  await copy(path, image);
  const manifest = `${ENVIRONMENT.replace(":", "_")}.json`;
  await copy(join(layoutOf(from).manifests, manifest), join(layout.manifests, manifest));
  await copy(join(from, "accelerator.json"), join(to, "accelerator.json")).catch(() => undefined);
  // Hashed once where it is now.
  await new EnvironmentStore(catalogue, layout).require(ENVIRONMENT);
  return image;
}
