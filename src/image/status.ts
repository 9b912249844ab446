import type { EnvironmentSource, Manifest } from "./record.js";

/** One package of an environment. */
interface InstalledPackage {
  readonly name: string;
  readonly version: string;
}

/** What is known of an environment without using it. */
export interface EnvironmentStatus {
  /** The one spelling of it: an image's has its registry. */
  readonly name: string;
  readonly description: string;
  readonly source: EnvironmentSource;
  /** About what a pull fetches; 0 where it is not known. */
  readonly downloadBytes: number;
  /** "damaged" where the image is gone, or is not the one that was sealed. */
  readonly state: "absent" | "installed" | "damaged";
  /** Set unless absent. */
  readonly image?: DescribedImage;
}

/** What holds for commands in an environment where they say nothing else (image-spec, config.md). */
export interface EnvironmentConfig {
  /** "NAME=value". */
  readonly env: readonly string[];
  /** "", a name or an id, with ":" and a group where there is one: looked up in the environment's own files. */
  readonly user: string;
  /** "": none is named. */
  readonly workingDir: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
}

/** An image on this host. */
export interface InstalledImage {
  /** "sha256:…" of the qcow2 file. */
  readonly digest: string;
  /** Bytes on disk. */
  readonly sizeBytes: number;
  /** Size of the disk that a guest sees; the same for all images. */
  readonly virtualBytes: number;
  readonly createdAtMs: number;
  readonly packages: readonly InstalledPackage[];
  /** The qcow2 file: read-only, never changed, readable by any user as far as its directory is. */
  readonly path: string;
  /** What it was made from, as one digest; another one than a pull would take means that a newer one can be pulled. */
  readonly recipe: string;
  /** Absent: commands run as root in /workspace, with nothing but what pyro gives them. */
  readonly config?: EnvironmentConfig;
  /** Of an image of a registry or an archive. */
  readonly origin?: Manifest["origin"];
  /** Of one that was saved from a workspace. */
  readonly savedFrom?: { readonly workspaceId: string; readonly environment: string };
}

/** With what is known only by looking at others, too. */
interface DescribedImage extends InstalledImage {
  /** Of `sizeBytes` and its layers, what other environments have too. */
  readonly sharedBytes: number;
  /** Undefined: never, as far as is known. */
  readonly lastUsedAtMs: number | undefined;
}
