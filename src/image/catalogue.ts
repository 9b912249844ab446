import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { formatReference, parseReference } from "../oci/index.js";
import { PyroError } from "../protocol/index.js";

/** One curated environment, as `environments/*.json` describes it, with what it includes already folded in. */
export interface EnvironmentRecipe {
  readonly name: string;
  readonly description: string;
  /** Debian codename; the packages come from this suite whatever the host runs. */
  readonly suite: string;
  /** The distribution's own image, by its whole reference: what the packages are installed over where no apt of the host fetches them. */
  readonly image: string;
  /** What apt is asked to install: package names and apt patterns, sorted. */
  readonly packages: readonly string[];
  /** About what a pull fetches, for hints. */
  readonly downloadBytes: number;
  /** About what is unpacked, for the check of free space. */
  readonly installedBytes: number;
  /** The guest's own apt sources (deb822). */
  readonly guestSources: string;
  /** Changes whenever an image made from it would. */
  readonly digest: string;
}

/** The curated environments and the scripts that finish them. */
export interface Catalogue {
  readonly version: string;
  readonly environments: ReadonlyMap<string, EnvironmentRecipe>;
  /** Shell scripts that run in a machine: the last one for all, of the others one. */
  readonly scripts: { readonly install: string; readonly overImage: string; readonly finish: string };
}

const catalogueSchema = z.strictObject({
  version: z.string().min(1),
  environments: z.array(z.string()).min(1),
});

/** Package names by Debian policy 5.6.7; nothing that apt could take for an option, a path or a pattern. */
const packageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/);

const environmentSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9.-]*:[a-z0-9][a-z0-9.-]*$/),
  description: z.string().min(1),
  suite: z.string().regex(/^[a-z]+$/),
  image: z.string(),
  variant: z.enum(["essential", "required"]),
  includes: z.string().optional(),
  packages: z.array(packageName),
  download_bytes: z.int().positive(),
  installed_bytes: z.int().positive(),
});
type EnvironmentFile = z.infer<typeof environmentSchema>;

/**
 * apt patterns behind each variant. usr-is-merged fulfils init-system-helpers' dependency without usrmerge, which
 * would bring all of perl; the tree is made with merged directories from the start.
 */
const VARIANTS: Record<EnvironmentFile["variant"], readonly string[]> = {
  essential: ["?essential", "usr-is-merged"],
  required: ["?essential", "?priority(required)", "usr-is-merged"],
};

/** Part of every recipe's digest: raised when the code that makes images changes what comes out. */
const RECIPE_FORMAT = 1;

/**
 * Reads the catalogue from a directory.
 * @throws {PyroError} INTERNAL when the files that pyro ships are not in order
 */
export async function loadCatalogue(directory: string): Promise<Catalogue> {
  try {
    const text = (name: string): Promise<string> => readFile(join(directory, name), "utf8");
    const { version, environments } = catalogueSchema.parse(JSON.parse(await text("catalogue.json")));
    const files = new Map<string, EnvironmentFile>();
    for (const name of environments) {
      const file = environmentSchema.parse(JSON.parse(await text(name)));
      files.set(file.name, file);
    }
    const scripts = {
      install: await text("install.sh"),
      overImage: await text("over-image.sh"),
      finish: await text("finish.sh"),
    };
    const recipes = new Map<string, EnvironmentRecipe>();
    for (const file of files.values()) {
      recipes.set(file.name, toRecipe(file, files, await text(`${file.suite}.sources`), scripts));
    }
    return { version, environments: recipes, scripts };
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    throw new PyroError(
      "INTERNAL",
      `the catalogue of environments in ${directory} is not in order: ${reason}`,
      {
        hint: "install pyro again",
        cause: error,
      },
    );
  }
}

function toRecipe(
  file: EnvironmentFile,
  files: ReadonlyMap<string, EnvironmentFile>,
  guestSources: string,
  { install, finish }: Catalogue["scripts"],
): EnvironmentRecipe {
  const packages = [...new Set([...VARIANTS[file.variant], ...foldPackages(file, files)])].sort();
  // However it is made, it is the same environment: neither the image nor its script has a part in this.
  const digest = createHash("sha256")
    .update(
      JSON.stringify([RECIPE_FORMAT, file.name, file.suite, packages, guestSources, { install, finish }]),
    )
    .digest("hex");
  return {
    name: file.name,
    description: file.description,
    suite: file.suite,
    image: formatReference(parseReference(file.image)),
    packages,
    downloadBytes: file.download_bytes,
    installedBytes: file.installed_bytes,
    guestSources,
    digest,
  };
}

function foldPackages(
  file: EnvironmentFile,
  files: ReadonlyMap<string, EnvironmentFile>,
  seen: readonly string[] = [],
): string[] {
  if (seen.includes(file.name)) throw new Error(`${file.name} includes itself`);
  if (file.includes === undefined) return file.packages;
  const included = files.get(file.includes);
  if (included === undefined)
    throw new Error(`${file.name} includes ${file.includes}, which is not in the catalogue`);
  return [...file.packages, ...foldPackages(included, files, [...seen, file.name])];
}
