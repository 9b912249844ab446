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
import type { EnvironmentConfig, EnvironmentStatus, InstalledImage } from "./status.js";

interface Looked {
  readonly about: Omit<EnvironmentStatus, "image">;
  readonly manifest?: Manifest;
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
    const all = await this.manifests();
    const others = all.map(({ name }) => name).filter((name) => !environments.has(name));
    const names = [...environments.keys(), ...others.sort()];
    return await Promise.all(names.map(async (name) => await this.#withSharing(await this.#look(name), all)));
  }

  /**
   * One environment. An image whose fingerprint changed is read and hashed.
   * @param text its name, or an image's reference
   * @throws {PyroError} UNKNOWN_ENVIRONMENT
   */
  async inspect(text: string): Promise<EnvironmentStatus> {
    const found = await this.#look(text);
    return await this.#withSharing(found, found.manifest === undefined ? [] : await this.manifests());
  }

  /** An environment for itself: what any use of it needs. */
  async #look(text: string): Promise<Looked> {
    const { name, recipe } = await this.nameOf(text);
    const manifest = await this.manifest(name);
    const about = recipe === undefined ? fromName(name, manifest) : fromRecipe(recipe);
    if (manifest === undefined) return { about: { ...about, state: "absent" } };
    const state = (await this.isWhole(manifest)) ? "installed" : "damaged";
    return { about: { ...about, state }, manifest };
  }

  async #withSharing({ about, manifest }: Looked, all: readonly Manifest[]): Promise<EnvironmentStatus> {
    if (manifest === undefined) return about;
    const lastUsedAtMs = await this.lastUse.of(about.name);
    const image = {
      ...toImage(this.layout, manifest),
      sharedBytes: sharedBytes(manifest, all),
      lastUsedAtMs,
    };
    return { ...about, image };
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
    return (await this.#require(text)).image;
  }

  async #require(text: string): Promise<{ readonly name: string; readonly image: InstalledImage }> {
    const { about, manifest } = await this.#look(text);
    const { name, state, downloadBytes } = about;
    if (manifest === undefined) {
      const about = downloadBytes === 0 ? "" : ` (about ${Math.round(downloadBytes / 1e6)} MB)`;
      throw new PyroError("ENVIRONMENT_NOT_PULLED", `environment "${name}" is not on this host`, {
        hint: `run \`pyro env pull ${name}\`${about}`,
        details: { environment: name, download_bytes: downloadBytes },
      });
    }
    const image = toImage(this.layout, manifest);
    if (state === "damaged") {
      throw new PyroError(
        "ENVIRONMENT_DAMAGED",
        `the image of environment "${name}" is missing or was changed`,
        {
          hint: remakeHint({ ...about, image }),
          details: { environment: name, digest: image.digest, path: image.path },
        },
      );
    }
    return { name, image };
  }

  /**
   * As `require`, for a machine: notes that the environment is used.
   * @throws {PyroError} as `require`
   */
  async take(text: string): Promise<InstalledImage> {
    const { name, image } = await this.#require(text);
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

function toImage(layout: ImageLayout, manifest: Manifest): InstalledImage {
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
