import { chmod, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { sha256File, silentLogger, type Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { aptDirectories } from "./apt.js";
import type { BuildStep } from "./builder.js";
import type { Catalogue, EnvironmentRecipe } from "./catalogue.js";
import { requireSpace, type HostPrograms } from "./host-tools.js";
import { bootstrapLayer, mmdebstrapMode } from "./mmdebstrap.js";
import { inputsDigest, type Assembled, type Fetched } from "./record.js";
import { writeSettingsLayer } from "./settings.js";
import { stageLayer } from "./staged.js";

export interface AssembleRequest {
  readonly host: HostPrograms;
  readonly catalogue: Catalogue;
  readonly recipe: EnvironmentRecipe;
  readonly architecture: string;
  readonly fetched: Fetched;
  /** The suite's packages, as fetched. */
  readonly packagesRoot: string;
  /** The pull's own directory; the layers are written there. */
  readonly directory: string;
  readonly signal: AbortSignal;
  readonly onProgress: (bytesDone: number, bytesTotal: number, message: string) => void;
  readonly logger?: Logger;
  /** Takes this way and no other; by default mmdebstrap where it works. */
  readonly way?: Assembled["way"];
}

const CONTENT = "content.tar";
const SETTINGS = "settings.tar";

/**
 * Makes the layers of an environment from fetched packages, without root: by mmdebstrap where the host lets it work,
 * otherwise (and when it fails) a layer whose packages are installed inside the builder VM.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED, DISK_FULL
 */
export async function assembleLayers(request: AssembleRequest): Promise<Assembled> {
  const { way, steps } = await contentLayer(request);
  const finish = await writeSettingsLayer(
    join(request.directory, SETTINGS),
    request.recipe,
    request.catalogue.scripts.finish,
  );
  const layers = [];
  for (const file of [CONTENT, SETTINGS]) {
    const path = join(request.directory, file);
    const sha256 = await sha256File(path, request.signal);
    // As root, QEMU reads them under a uid of its own.
    await chmod(path, 0o444);
    layers.push({ file, size_bytes: (await stat(path)).size, sha256 });
  }
  const asRecord = (step: BuildStep): { argv: string[]; env: string[] } => ({
    argv: [...step.argv],
    env: [...step.env],
  });
  return {
    format: 1,
    inputs: inputsDigest(request.fetched),
    way,
    layers,
    steps: [...steps, ...finish].map(asRecord),
  };
}

async function contentLayer(
  request: AssembleRequest,
): Promise<{ way: Assembled["way"]; steps: BuildStep[] }> {
  const { recipe, directory, onProgress, host, signal } = request;
  await requireSpace(directory, recipe.installedBytes, "assembling packages");
  const apt = aptDirectories(request.packagesRoot);
  const target = join(directory, CONTENT);
  const mode = request.way === "staged" ? undefined : await mmdebstrapMode(host, signal);
  if (mode !== undefined) {
    onProgress(0, 0, `installing ${request.fetched.packages.length} packages`);
    try {
      const sources = await readFile(apt.sources, "utf8");
      await bootstrapLayer({
        host,
        mode,
        suite: recipe.suite,
        architecture: request.architecture,
        sources,
        lists: apt.lists,
        archives: apt.archives,
        packages: request.fetched.packages.map((each) => each.name),
        installedBytes: recipe.installedBytes,
        directory,
        target,
        signal,
      });
      return { way: "mmdebstrap", steps: [] };
    } catch (error) {
      signal.throwIfAborted();
      if (request.way === "mmdebstrap") throw error;
      // The other way needs neither mounts nor /var/tmp, so it may well work where this one did not.
      const { message, details } = PyroError.from(error);
      (request.logger ?? silentLogger).warn("image.mmdebstrap-failed", { message, details });
      onProgress(0, 0, "mmdebstrap does not work here: the packages are installed in a VM instead");
    }
  } else if (request.way === "mmdebstrap") {
    throw new PyroError("HOST_TOOL_NOT_FOUND", "mmdebstrap does not work on this host", {
      hint: "sudo apt-get install -y mmdebstrap uidmap",
    });
  }
  const steps = await stageLayer({
    host,
    archives: apt.archives,
    packages: request.fetched.packages,
    essential: request.fetched.essential,
    installScript: request.catalogue.scripts.install,
    target,
    signal,
    onProgress,
  });
  return { way: "staged", steps };
}
