import { createHash } from "node:crypto";
import { constants, existsSync } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { exists, readJsonFile, sha256File, writeFileAtomic } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";

/** What machines boot from, the disk that environments begin as, and the host's helper, as runtime/build.mjs made them. */
export interface RuntimeBundle {
  readonly directory: string;
  readonly kernelPath: string;
  readonly initramfsPath: string;
  /** The program that holds memory templates (guest/cmd/pyro-hold). */
  readonly holderPath: string;
  /** A qcow2 with an empty file system, to be copied: what an environment is made in. */
  readonly emptyDiskPath: string;
  /** Version of pyro that it was built with, and of the agent in it. */
  readonly version: string;
  readonly kernelRelease: string;
  /** SHA-256 over the manifest: names this bundle in verdicts and templates. */
  readonly digest: string;
}

const FORMAT = 3;

const fileName = z.string().regex(/^[\w.-]+$/);
const manifestSchema = z.object({
  format: z.literal(FORMAT),
  bundle_version: z.string(),
  kernel: z.object({ file: fileName, release: z.string() }),
  initramfs: z.object({ file: fileName }),
  holder: z.object({ file: fileName }),
  empty_disk: z.object({ file: fileName }),
  files: z.record(fileName, z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/), size_bytes: z.number() })),
});

export interface BundleOptions {
  /** Default: runtime/bundle of this package. */
  readonly directory?: string;
  /** Remembers which files were verified, by inode, size and times, so that later calls read nothing. */
  readonly verdictFile?: string;
  /** Whether machines run as other users than this process, as root's do (the default: whether this is root). */
  readonly otherUsers?: boolean;
}

/**
 * The bundle, with every file checked against the manifest's SHA-256 (about 0.2 s), or known from the verdict file
 * to have passed unchanged since.
 * @throws {PyroError} RUNTIME_BUNDLE_MISSING, RUNTIME_BUNDLE_DAMAGED
 */
export async function locateRuntimeBundle(options: BundleOptions = {}): Promise<RuntimeBundle> {
  const directory = options.directory ?? (await bundleOfPackage());
  const text = await readFile(join(directory, "manifest.json"), "utf8").catch((error: unknown) => {
    throw missing(directory, error);
  });
  const manifest = parseManifest(text, directory);
  if (options.otherUsers ?? process.getuid?.() === 0) {
    for (const { file } of [manifest.kernel, manifest.initramfs]) await letAllRead(join(directory, file));
  }
  const seen = await fingerprint(directory, Object.keys(manifest.files), text);
  const known =
    options.verdictFile === undefined
      ? undefined
      : await readJsonFile(options.verdictFile).catch(() => undefined);
  if (known !== seen) {
    for (const [name, expected] of Object.entries(manifest.files))
      await verify(join(directory, name), expected);
    if (options.verdictFile !== undefined) await remember(options.verdictFile, seen);
  }
  return {
    directory,
    kernelPath: join(directory, manifest.kernel.file),
    initramfsPath: join(directory, manifest.initramfs.file),
    holderPath: join(directory, manifest.holder.file),
    emptyDiskPath: join(directory, manifest.empty_disk.file),
    version: manifest.bundle_version,
    kernelRelease: manifest.kernel.release,
    digest: createHash("sha256").update(text).digest("hex"),
  };
}

function parseManifest(text: string, directory: string): z.infer<typeof manifestSchema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damaged(join(directory, "manifest.json"), "is not JSON", error);
  }
  const { success, data, error } = manifestSchema.safeParse(value);
  if (!success) {
    const issue = error.issues[0];
    throw damaged(
      join(directory, "manifest.json"),
      `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`,
      error,
    );
  }
  for (const { file: name } of [data.kernel, data.initramfs, data.holder, data.empty_disk]) {
    if (data.files[name] === undefined)
      throw damaged(join(directory, "manifest.json"), `does not describe ${name}`, undefined);
  }
  return data;
}

/** What changes when a file is replaced or written to, even with its old length and time of modification. */
async function fingerprint(directory: string, names: readonly string[], manifest: string): Promise<string> {
  const hash = createHash("sha256").update(directory).update(manifest);
  for (const name of names) {
    const path = join(directory, name);
    const facts = await stat(path, { bigint: true }).catch((error: unknown) => {
      throw damaged(path, "is missing", error);
    });
    hash.update(`\0${name} ${facts.dev} ${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`);
  }
  return hash.digest("hex");
}

/**
 * npm installs files as its user's umask leaves them, and root's may keep all others out. There is nothing secret in a
 * kernel; QEMU opens it by a descriptor, so that the directories above need not be open.
 */
async function letAllRead(path: string): Promise<void> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { mode } = await file.stat();
    if ((mode & 0o004) === 0) await file.chmod((mode & 0o777) | 0o444);
  } catch (error) {
    // What is missing is named when it is verified.
    if (!(await exists(path))) return;
    throw damaged(path, "cannot be read by the users that machines run as", error);
  }
}

async function verify(
  path: string,
  expected: { readonly sha256: string; readonly size_bytes: number },
): Promise<void> {
  const { size } = await stat(path);
  if (size !== expected.size_bytes)
    throw damaged(path, `has ${size} bytes instead of ${expected.size_bytes}`, undefined);
  const found = await sha256File(path);
  if (found !== expected.sha256)
    throw damaged(path, `has SHA-256 ${found} instead of ${expected.sha256}`, undefined);
}

/** A verdict that cannot be kept costs 0.2 s next time, nothing else. */
async function remember(path: string, verdict: string): Promise<void> {
  await writeFileAtomic(path, JSON.stringify(verdict)).catch(() => undefined);
}

/** runtime/bundle beside the package.json above this file, wherever the build put this file. */
async function bundleOfPackage(): Promise<string> {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!(await exists(join(directory, "package.json"))) && directory !== dirname(directory)) {
    directory = dirname(directory);
  }
  return join(directory, "runtime/bundle");
}

function missing(directory: string, cause: unknown): PyroError {
  return new PyroError("RUNTIME_BUNDLE_MISSING", `there is no runtime bundle in ${directory}`, {
    hint: remedy(directory),
    details: { directory },
    cause,
  });
}

function damaged(path: string, how: string, cause: unknown): PyroError {
  return new PyroError("RUNTIME_BUNDLE_DAMAGED", `the runtime bundle is damaged: ${path} ${how}`, {
    hint: remedy(dirname(path)),
    details: { path },
    cause,
  });
}

/** A checkout has the script that builds the bundle, and repairs it; an installed package has not. */
function remedy(directory: string): string {
  const checkout = existsSync(join(dirname(directory), "build.mjs"));
  return checkout ? "build it with `make runtime`" : "reinstall pyro: `npm install -g pyro-mcp`";
}
