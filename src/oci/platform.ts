import { shown } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { ImageIndex, IndexEntry, Platform } from "./manifest.js";

/** The variant that a name of an architecture means by itself (containerd's platforms, "Normalize"). */
const USUAL_VARIANT: Readonly<Record<string, string>> = { amd64: "v1", arm64: "v8", arm: "v7" };
/** Platforms that are named in the message. */
const SHOWN = 20;

/**
 * The image of an index for a platform: the first that fits, as the image specification has it (image-index.md). An entry
 * without a platform is taken where it is the only image; its configuration says then what it runs on.
 * @throws {PyroError} IMAGE_PLATFORM_NOT_FOUND, naming what there is
 */
export function choose(what: string, index: ImageIndex, wanted: Platform): IndexEntry {
  const images = index.entries.filter((entry) => !entry.isAttestation);
  const found = images.find(({ platform }) => platform !== undefined && fits(platform, wanted));
  if (found !== undefined) return found;
  const [only] = images;
  if (only !== undefined && images.length === 1 && only.platform === undefined) return only;
  throw noPlatform(
    what,
    images.map(({ platform }) => platform),
    wanted,
  );
}

/** Whether an image for a platform runs on the wanted one. */
export function fits(platform: Platform, wanted: Platform): boolean {
  return (
    platform.os === wanted.os &&
    platform.architecture === wanted.architecture &&
    variantOf(platform) === variantOf(wanted)
  );
}

function variantOf({ architecture, variant }: Platform): string | undefined {
  return variant === undefined || variant === "" ? USUAL_VARIANT[architecture] : variant;
}

/** "linux/arm64/v8" */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter((part) => part !== undefined && part !== "").join("/");
}

/** The error of an image that does not run on the wanted platform. */
export function noPlatform(
  what: string,
  there: readonly (Platform | undefined)[],
  wanted: Platform,
): PyroError {
  const names = [...new Set(there.filter((platform) => platform !== undefined).map(formatPlatform))];
  // A registry's words: quoted as a whole.
  const list = shown(names.slice(0, SHOWN).join(" ")).slice(1, -1);
  const message = `${what} is not there for ${formatPlatform(wanted)}`;
  return new PyroError("IMAGE_PLATFORM_NOT_FOUND", list === "" ? message : `${message}, only for: ${list}`, {
    hint: `name an image that is built for ${formatPlatform(wanted)}, or build it for that`,
    details: { image: what, wanted: formatPlatform(wanted), available: names.slice(0, SHOWN) },
  });
}
