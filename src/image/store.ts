import { rm } from "node:fs/promises";
import { fingerprintOf, readJsonFile, sameFingerprint, sha256File, writeFileAtomic } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import { recipeOf, type Catalogue, type EnvironmentRecipe } from "./catalogue.js";
import { imagePath, manifestPath, type ImageLayout } from "./layout.js";
import { manifestSchema, type Manifest } from "./record.js";

/** One package of an environment. */
interface InstalledPackage {
  readonly name: string;
  readonly version: string;
}

/** What is known of an environment without using it. */
export interface EnvironmentStatus {
  readonly name: string;
  readonly description: string;
  readonly source: "curated";
  /** About what a pull fetches. */
  readonly downloadBytes: number;
  /** "damaged" where the image is gone, or is not the one that was sealed. */
  readonly state: "absent" | "installed" | "damaged";
  /** Set unless absent. */
  readonly image?: InstalledImage;
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
  /** Digest of the recipe it was made from; another one than the catalogue's means that a newer one can be pulled. */
  readonly recipe: string;
}

/** The environments of this host: which there are, and whether they are whole. Reads only, but for fingerprints. */
export class EnvironmentStore {
  readonly catalogue: Catalogue;
  readonly layout: ImageLayout;
  /** Checks under way, by digest: ten runs at once hash an image once. */
  readonly #checks = new Map<string, Promise<boolean>>();

  constructor(catalogue: Catalogue, layout: ImageLayout) {
    this.catalogue = catalogue;
    this.layout = layout;
  }

  /** All environments of the catalogue, in its order. */
  async list(): Promise<EnvironmentStatus[]> {
    return await Promise.all([...this.catalogue.environments.keys()].map((name) => this.inspect(name)));
  }

  /**
   * One environment. An image whose fingerprint changed is read and hashed.
   * @throws {PyroError} UNKNOWN_ENVIRONMENT
   */
  async inspect(name: string): Promise<EnvironmentStatus> {
    const recipe = recipeOf(this.catalogue, name);
    const manifest = await this.manifest(name);
    if (manifest === undefined) return { ...fromRecipe(recipe), state: "absent" };
    const state = (await this.isWhole(manifest)) ? "installed" : "damaged";
    return { ...fromRecipe(recipe), state, image: toImage(this.layout, manifest) };
  }

  /**
   * The image of an environment, proven to be the one that was sealed; call it before each use.
   * @throws {PyroError} UNKNOWN_ENVIRONMENT, ENVIRONMENT_NOT_PULLED, ENVIRONMENT_DAMAGED
   */
  async require(name: string): Promise<InstalledImage> {
    const status = await this.inspect(name);
    const hint = `run \`pyro env pull ${name}\` (about ${Math.round(status.downloadBytes / 1e6)} MB)`;
    if (status.image === undefined) {
      throw new PyroError("ENVIRONMENT_NOT_PULLED", `environment "${name}" is not on this host`, {
        hint,
        details: { environment: name, download_bytes: status.downloadBytes },
      });
    }
    if (status.state === "damaged") {
      throw new PyroError(
        "ENVIRONMENT_DAMAGED",
        `the image of environment "${name}" is missing or was changed`,
        {
          hint: `run \`pyro env pull ${name}\`: it makes the image again`,
          details: { environment: name, digest: status.image.digest, path: status.image.path },
        },
      );
    }
    return status.image;
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

function toImage(layout: ImageLayout, manifest: Manifest): InstalledImage {
  return {
    digest: manifest.digest,
    sizeBytes: manifest.size_bytes,
    virtualBytes: manifest.virtual_bytes,
    createdAtMs: manifest.created_at_ms,
    packages: manifest.packages,
    path: imagePath(layout, manifest.digest),
    recipe: manifest.recipe,
  };
}
