import { createHash } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { allocatedBytes, failpoint, sealFile, type Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { EnvironmentRecipe } from "./catalogue.js";
import { reasonOf, requireSpace, type HostPrograms } from "./host-tools.js";
import type { LayerMaker, LayerRequest, LayerResult } from "./layer-maker.js";
import { imagePath } from "./layout.js";
import type { PullProgress } from "./progress.js";
import { isPhaseFile, recordPhaseFile, type PhaseFile } from "./phase-file.js";
import { PullPlace } from "./pull-place.js";
import { sealImage } from "./seal.js";
import { writeSettingsLayer } from "./settings.js";
import type { AptSource } from "./sources.js";
import type { InstalledImage } from "./status.js";
import type { EnvironmentStore } from "./store.js";
import { INSTALLED } from "./sweep.js";
import { lastStep } from "./unpack.js";

export interface OverImageOptions {
  readonly store: EnvironmentStore;
  readonly host: HostPrograms;
  readonly layers: LayerMaker;
  readonly logger: Logger;
  readonly recipe: EnvironmentRecipe;
  /** The distribution's image, on this host and whole. */
  readonly requireBase: () => Promise<InstalledImage>;
  /** Where the user says that Debian's packages are; without any, the image's own sources are asked. */
  readonly mirrors: readonly AptSource[];
  /** Forgets what earlier pulls finished. */
  readonly fresh: boolean;
  readonly inUse?: () => Promise<ReadonlySet<string>>;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: PullProgress) => void;
}

const SETTINGS = "settings.tar";
const SETTLED = "settled.qcow2";
/** Cleans up, and prints what is installed; what the clean-up prints is not among it. */
const SETTLE = `/bin/sh /.pyro-build/finish.sh >&2 && exec dpkg-query -W -f '\${Package} \${Version}\\n'`;
/** Of what a command prints, for its error. */
const TAIL_CHARS = 4_000;

/**
 * Makes a curated environment where no apt of the host fetches its packages: they are installed over the distribution's own
 * image in a machine with a network, and the result is settled as every environment in one without. Whether there are
 * packages installed already, by a pull that ended early, a record says that was written after them.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED, ENVIRONMENT_BUSY, DISK_FULL; what `requireBase` and machines throw
 */
export async function makeOverImage(options: OverImageOptions): Promise<void> {
  const { store, recipe, layers, onProgress } = options;
  await using place = await PullPlace.open(store.layout, recipe.name, options);
  failpoint("over.base");
  const image = await options.requireBase();
  using _held = layers.hold(image.digest);
  failpoint("over.install");
  const installed = await install(options, place, image);
  failpoint("over.settle");
  const { path, packages } = await settle(options, place, image, installed);
  failpoint("over.seal");
  const files = [imagePath(store.layout, image.digest), installed, path];
  const used = await Promise.all(files.map(async (file) => allocatedBytes(await stat(file))));
  await sealImage({
    ...options,
    directory: place.directory,
    from: { path, by: "copy" },
    usedBytes: used.reduce((sum, bytes) => sum + bytes, 0),
    manifest: { name: recipe.name, source: "curated", recipe: recipe.digest, packages },
    onProgress: (bytesDone, bytesTotal, message) =>
      onProgress({ phase: "seal", bytesDone, bytesTotal, message }),
  });
  failpoint("over.sealed");
  place.finish();
}

/** The layer with the packages. */
async function install(options: OverImageOptions, place: PullPlace, image: InstalledImage): Promise<string> {
  const { recipe, store, mirrors } = options;
  const target = place.path(INSTALLED);
  const script = store.catalogue.scripts.overImage;
  const inputs = digestOf([recipe.digest, image.digest, script]);
  const file: PhaseFile = { place, phase: "installed", path: target, inputs };
  if (await isPhaseFile(file)) return target;
  await place.forget("installed");
  await requireSpace(place.directory, recipe.installedBytes, "installing packages");
  const argv = ["/bin/sh", "-c", script, "sh", ...recipe.packages];
  await make(options, { image, below: [], target, argv, network: { mirrors } }, "installing packages");
  failpoint("over.installed");
  await recordPhaseFile(file);
  return target;
}

/** The layer that makes it an environment like every other, and what is installed in that. */
async function settle(
  options: OverImageOptions,
  place: PullPlace,
  image: InstalledImage,
  installed: string,
): Promise<{ path: string; packages: { name: string; version: string }[] }> {
  const { recipe, store } = options;
  const [files, target] = [place.path(SETTINGS), place.path(SETTLED)];
  await writeSettingsLayer(files, recipe, store.catalogue.scripts.finish);
  const argv = ["/bin/sh", "-c", SETTLE];
  const printed = await make(options, { image, below: [installed], target, files, argv }, "settling");
  const packages = printed
    .trim()
    .split("\n")
    .map((line) => {
      const [name = "", version = ""] = line.split(" ");
      return { name, version };
    });
  return { path: target, packages };
}

/** Makes a layer that nobody writes to any more; gives what the command wrote to its standard output. */
async function make(
  { layers, logger, recipe, signal, onProgress }: OverImageOptions,
  request: Omit<LayerRequest, "onOutput" | "signal">,
  what: string,
): Promise<string> {
  const tell = (message: string): void =>
    onProgress({ phase: "assemble", bytesDone: 0, bytesTotal: 0, message });
  tell(what);
  await rm(request.target, { force: true });
  const streams = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  const out: string[] = [];
  let tail = "";
  const result = await layers.make({
    ...request,
    onOutput: ({ stream, data }) => {
      const text = streams[stream].decode(data, { stream: true });
      logger.info("image.install-output", { environment: recipe.name, text });
      if (stream === "stdout") out.push(text);
      tail = `${tail}${text}`.slice(-TAIL_CHARS);
      const step = lastStep(text) ?? lastFetched(text);
      if (step !== undefined) tell(step);
    },
    signal,
  });
  if (result.exitCode !== 0) throw notInstalled(recipe, what, result, tail);
  await sealFile(request.target);
  return out.join("");
}

/** The last file that apt says it fetches: "Get:12 http://mirror.test/debian bookworm/main amd64 git amd64 1:2.39.5 [7256 kB]". */
function lastFetched(text: string): string | undefined {
  const name = [...text.matchAll(/^Get:\d+ \S+ \S+ \S+ ([^\s[]+) /gm)].at(-1)?.[1];
  return name === undefined ? undefined : `fetching ${name}`;
}

function notInstalled(
  { name, image }: EnvironmentRecipe,
  what: string,
  { how, refusal }: LayerResult,
  tail: string,
): PyroError {
  const refused = refusal === undefined ? "" : `; the machine was kept from the network: ${refusal.reason}`;
  return new PyroError(
    "ENVIRONMENT_BUILD_FAILED",
    `${name}: ${what} over ${image} failed (${how}): ${reasonOf(tail)}${refused}`,
    {
      hint: refusal === undefined ? OUT_OF_REACH : NAME_MIRRORS,
      details: { image, output: tail, ...(refusal === undefined ? {} : { refusal: refusal.reason }) },
      retryable: true,
    },
  );
}

const OUT_OF_REACH = "check that this host reaches its Debian mirror, then try again";
const NAME_MIRRORS =
  'name your own Debian mirror: its line of apt in a file, and `apt_sources = ["/path/of/it.list"]` in ~/.config/pyro/config.toml; then `pyro daemon stop`, and try again';

function digestOf(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
