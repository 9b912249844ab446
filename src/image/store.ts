import { readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { fingerprintOf, readJsonFile, sameFingerprint, sha256File, writeFileAtomic } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { LastUse } from "./last-use.js";
import { sharedBytes } from "./sharing.js";
import type { Catalogue, EnvironmentRecipe } from "./catalogue.js";
import { imagePath, manifestPath, type ImageLayout } from "./layout.js";
import { knownName, type KnownName } from "./names.js";
import { remakeHint } from "./remake.js";
import { manifestSchema, type EnvironmentSource, type Manifest } from "./record.js";

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
  readonly image?: InstalledImage;
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
  /** Of `sizeBytes` and its layers, what other environments have too. */
  readonly sharedBytes: number;
  /** Undefined: never, as far as is known. */
  readonly lastUsedAtMs: number | undefined;
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

/** The environments of this host: which there are, and whether they are whole. Reads only, but for fingerprints and last uses. */
export class EnvironmentStore {
  readonly catalogue: Catalogue;
  readonly layout: ImageLayout;
  readonly lastUse: LastUse;
  /** Checks under way, by digest: ten runs at once hash an image once. */
  readonly #checks = new Map<string, Promise<boolean>>();

  constructor(catalogue: Catalogue, layout: ImageLayout) {
    this.catalogue = catalogue;
    this.layout = layout;
    this.lastUse = new LastUse(layout);
  }

  /** All environments of the catalogue, in its order, then the others of this host by their names. */
  async list(): Promise<EnvironmentStatus[]> {
    const { environments } = this.catalogue;
    const others = (await this.manifests()).map(({ name }) => name).filter((name) => !environments.has(name));
    return await Promise.all([...environments.keys(), ...others.sort()].map((name) => this.inspect(name)));
  }

  /**
   * One environment. An image whose fingerprint changed is read and hashed.
   * @param text its name, or an image's reference
   * @throws {PyroError} UNKNOWN_ENVIRONMENT
   */
  async inspect(text: string): Promise<EnvironmentStatus> {
    const { name, recipe } = await this.nameOf(text);
    const manifest = await this.manifest(name);
    const about = recipe === undefined ? fromName(name, manifest) : fromRecipe(recipe);
    if (manifest === undefined) return { ...about, state: "absent" };
    const state = (await this.isWhole(manifest)) ? "installed" : "damaged";
    const sharing = { sharedBytes: sharedBytes(manifest, await this.manifests()) };
    const lastUsedAtMs = await this.lastUse.of(name);
    return { ...about, state, image: { ...toImage(this.layout, manifest), ...sharing, lastUsedAtMs } };
  }

  /**
   * What a text stands for: an environment that was given this name on this host, a curated one, or an image's reference.
   * @throws {PyroError} UNKNOWN_ENVIRONMENT
   */
  async nameOf(text: string): Promise<KnownName> {
    const given = this.catalogue.environments.has(text) ? undefined : await this.manifest(text);
    return given === undefined ? knownName(this.catalogue, text) : { name: given.name };
  }

  /**
   * The image of an environment, proven to be the one that was sealed; call it before each use.
   * @throws {PyroError} UNKNOWN_ENVIRONMENT, ENVIRONMENT_NOT_PULLED, ENVIRONMENT_DAMAGED
   */
  async require(text: string): Promise<InstalledImage> {
    const status = await this.inspect(text);
    const { name, state, image, downloadBytes } = status;
    if (image === undefined) {
      const about = downloadBytes === 0 ? "" : ` (about ${Math.round(downloadBytes / 1e6)} MB)`;
      throw new PyroError("ENVIRONMENT_NOT_PULLED", `environment "${name}" is not on this host`, {
        hint: `run \`pyro env pull ${name}\`${about}`,
        details: { environment: name, download_bytes: downloadBytes },
      });
    }
    if (state === "damaged") {
      throw new PyroError(
        "ENVIRONMENT_DAMAGED",
        `the image of environment "${name}" is missing or was changed`,
        {
          hint: remakeHint(status),
          details: { environment: name, digest: image.digest, path: image.path },
        },
      );
    }
    return image;
  }

  /**
   * As `require`, for a machine: notes that the environment is used.
   * @throws {PyroError} as `require`
   */
  async take(text: string): Promise<InstalledImage> {
    const image = await this.require(text);
    const { name } = await this.nameOf(text);
    await this.lastUse.note(name);
    return image;
  }

  /** The manifests of all environments that are on this host. */
  async manifests(): Promise<Manifest[]> {
    const files = await readdir(this.layout.manifests).catch(() => []);
    const found = await Promise.all(
      files.map(async (file) => {
        const { data } = manifestSchema.safeParse(await readJsonFile(join(this.layout.manifests, file)));
        return data !== undefined && file === basename(manifestPath(this.layout, data.name))
          ? data
          : undefined;
      }),
    );
    return found.filter((manifest) => manifest !== undefined);
  }

  /** The manifest of an environment; undefined where there is none, or none that can be read. */
  async manifest(name: string): Promise<Manifest | undefined> {
    const parsed = manifestSchema.safeParse(await readJsonFile(manifestPath(this.layout, name)));
    // A manifest under another environment's name is none.
    return parsed.success && parsed.data.name === name ? parsed.data : undefined;
  }

  /** Whether the image is the sealed one: by its fingerprint, and where that differs by its SHA-256. */
  async isWhole(manifest: Manifest): Promise<boolean> {
    let check = this.#checks.get(manifest.digest);
    if (check === undefined) {
      check = this.#check(manifest).finally(() => this.#checks.delete(manifest.digest));
      this.#checks.set(manifest.digest, check);
    }
    return await check;
  }

  async #check(manifest: Manifest): Promise<boolean> {
    const path = imagePath(this.layout, manifest.digest);
    try {
      const fingerprint = await fingerprintOf(path);
      if (sameFingerprint(fingerprint, manifest.fingerprint)) return true;
      if (fingerprint.size !== String(manifest.size_bytes)) return false;
      if (`sha256:${await sha256File(path)}` !== manifest.digest) return false;
      // Only moved or copied: remember where it is now, so that the next use need not read it again.
      const current = await this.manifest(manifest.name);
      if (current?.digest === manifest.digest) await this.writeManifest({ ...current, fingerprint });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw error;
    }
  }

  /** Replaces an environment's manifest. */
  async writeManifest(manifest: Manifest): Promise<void> {
    const text = `${JSON.stringify(manifestSchema.parse(manifest), null, 2)}\n`;
    await writeFileAtomic(manifestPath(this.layout, manifest.name), text, 0o644);
  }

  /** Forgets that an environment is here. */
  async removeManifest(name: string): Promise<void> {
    await rm(manifestPath(this.layout, name), { force: true });
    await this.lastUse.forget(name);
  }
}

function fromRecipe(recipe: EnvironmentRecipe): Omit<EnvironmentStatus, "state" | "image"> {
  return {
    name: recipe.name,
    description: recipe.description,
    source: "curated",
    downloadBytes: recipe.downloadBytes,
  };
}

const DESCRIPTIONS: Readonly<Record<EnvironmentSource, string>> = {
  curated: "",
  image: "an image of a registry",
  archive: "an image of an archive",
  build: "built on this host",
  workspace: "saved from a workspace",
};

function fromName(name: string, manifest: Manifest | undefined): Omit<EnvironmentStatus, "state" | "image"> {
  const source = manifest?.source ?? "image";
  const sizes = manifest?.origin?.layers.map((layer) => layer.size_bytes) ?? [];
  const downloadBytes = sizes.reduce((sum, bytes) => sum + bytes, 0);
  return { name, source, description: DESCRIPTIONS[source], downloadBytes };
}

function toImage(
  layout: ImageLayout,
  manifest: Manifest,
): Omit<InstalledImage, "sharedBytes" | "lastUsedAtMs"> {
  const { config, origin, saved_from: from } = manifest;
  return {
    digest: manifest.digest,
    sizeBytes: manifest.size_bytes,
    virtualBytes: manifest.virtual_bytes,
    createdAtMs: manifest.created_at_ms,
    packages: manifest.packages,
    path: imagePath(layout, manifest.digest),
    recipe: manifest.recipe,
    ...(config === undefined ? {} : { config: toConfig(config) }),
    ...(origin === undefined ? {} : { origin }),
    ...(from === undefined
      ? {}
      : { savedFrom: { workspaceId: from.workspace_id, environment: from.environment } }),
  };
}

function toConfig({ working_dir: workingDir, ...rest }: NonNullable<Manifest["config"]>): EnvironmentConfig {
  return { ...rest, workingDir };
}
