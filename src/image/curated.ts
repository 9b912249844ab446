import type { Slots } from "../kit/index.js";
import type { EnvironmentRecipe } from "./catalogue.js";
import { APT_TOOLS, type HostPrograms } from "./host-tools.js";
import { readHostSources, type HostSourcesRequest } from "./host-sources.js";
import type { LayerMaker } from "./layer-maker.js";
import { makeOverImage } from "./over-image.js";
import { PullRun, type PullRunOptions } from "./pull-run.js";
import type { AptSource } from "./sources.js";
import type { EnvironmentStatus, InstalledImage } from "./status.js";

export interface CuratedOptions extends Omit<PullRunOptions, "sources"> {
  readonly fetchSlot: Slots;
  readonly layers: LayerMaker;
  /** Files that name where Debian's packages are, instead of the configuration of the host's apt. */
  readonly aptSources?: readonly string[] | undefined;
  /** Makes the distribution's image present, or looks whether there is a newer one. */
  readonly pullImage: (name: string) => Promise<unknown>;
}

/**
 * Makes a curated environment: of packages that the host's apt fetches, or where it fetches none of Debian's, over the
 * distribution's own image.
 * @throws {PyroError} HOST_TOOL_NOT_FOUND, CONFIG_INVALID, what `PullRun` and `makeOverImage` throw
 */
export async function makeCurated(
  { state, image }: EnvironmentStatus,
  options: CuratedOptions,
): Promise<{ readonly reused: boolean }> {
  const { host, recipe, fresh, aptSources, signal } = options;
  if (state === "installed" && image?.recipe === recipe.digest && !fresh) return { reused: true };
  await host.require();
  const sources = await readHostSources({ host, suite: recipe.suite, files: aptSources, signal });
  if (options.way !== undefined || (await canFetch(host, sources))) {
    await using run = await PullRun.open({ ...options, sources });
    await run.run();
  } else {
    await makeOverImage({ ...options, mirrors: sources, requireBase: () => requireBase(options) });
  }
  return { reused: false };
}

/**
 * Whether the host's apt fetches the packages of a curated environment.
 * @throws {PyroError} CONFIG_INVALID
 */
export async function fetchesPackages(request: HostSourcesRequest): Promise<boolean> {
  return await canFetch(request.host, await readHostSources(request));
}

async function canFetch(host: HostPrograms, sources: readonly AptSource[]): Promise<boolean> {
  return sources.length > 0 && (await host.has(...APT_TOOLS));
}

/** The image that it is made over: the one that is here, unless all is made anew. */
async function requireBase({
  store,
  recipe,
  fresh,
  pullImage,
}: Pick<CuratedOptions, "store" | "fresh" | "pullImage"> & {
  readonly recipe: EnvironmentRecipe;
}): Promise<InstalledImage> {
  const name = recipe.image;
  if (fresh || (await store.inspect(name)).state !== "installed") await pullImage(name);
  return await store.take(name);
}
