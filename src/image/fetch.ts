import { rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PyroError } from "../protocol/index.js";
import {
  aptConfiguration,
  aptDirectories,
  parseDownloadStatus,
  parsePrintUris,
  type AptDirectories,
  type PackageFile,
} from "./apt.js";
import { requireSpace, toolError, type HostPrograms, type RunResult } from "./host-tools.js";
import { makeCacheDirectory } from "./layout.js";
import { fileMatches } from "./record.js";
import { formatSources, type AptSource } from "./sources.js";

export interface FetchRequest {
  readonly host: HostPrograms;
  /** Directory of the suite's packages; shared by its environments, kept between pulls. */
  readonly root: string;
  readonly suite: string;
  readonly architecture: string;
  /** Where apt fetches from. */
  readonly sources: readonly AptSource[];
  /** What apt is asked to install. */
  readonly packages: readonly string[];
  readonly signal: AbortSignal;
  readonly onProgress: (bytesDone: number, bytesTotal: number, message: string) => void;
}

export interface FetchResult {
  readonly packages: readonly PackageFile[];
  /** Files of the packages that dpkg cannot run without, a part of `packages`. */
  readonly essential: readonly string[];
}

/** The packages dpkg needs before anything is configured; the same in every variant. */
const ESSENTIAL = ["?essential", "usr-is-merged"];
const APT_HINT = "check that `apt-get update` works on this host, then try again; what was fetched is kept";
const PROXY_VARIABLES = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/**
 * Fetches an environment's packages with the host's apt into private directories. Resumable:
 * apt continues partial files, and what is there and matches its SHA-256 from the signed lists is not fetched again.
 * @throws {PyroError} HOST_TOOL_NOT_FOUND, ENVIRONMENT_BUILD_FAILED, DISK_FULL
 */
export async function fetchPackages(request: FetchRequest): Promise<FetchResult> {
  const directories = aptDirectories(request.root);
  await prepareDirectories(request, directories);
  const { onProgress } = request;
  onProgress(0, 0, "reading the package lists");
  await mustSucceed(request, await apt(request, directories, ["-q", "update"]), "apt-get update");

  const packages = await resolve(request, directories, request.packages);
  const essential = await resolve(request, directories, ESSENTIAL);
  const total = packages.reduce((sum, each) => sum + each.sizeBytes, 0);
  const missing = await dropDamaged(directories.archives, packages, request.signal);
  const missingBytes = missing.reduce((sum, each) => sum + each.sizeBytes, 0);
  onProgress(total - missingBytes, total, `fetching ${missing.length} of ${packages.length} packages`);
  if (missing.length > 0) {
    await requireSpace(directories.archives, missingBytes, "fetching packages");
    await download(request, directories, (share) => {
      onProgress(total - missingBytes + Math.floor(missingBytes * share), total, "fetching packages");
    });
    const bad = await dropDamaged(directories.archives, missing, request.signal);
    if (bad.length > 0) {
      throw new PyroError("ENVIRONMENT_BUILD_FAILED", `fetched packages are damaged: ${describe(bad)}`, {
        hint: APT_HINT,
        retryable: true,
      });
    }
  }
  onProgress(total, total, "fetched");
  return { packages, essential: essential.map((each) => each.file) };
}

async function prepareDirectories(request: FetchRequest, directories: AptDirectories): Promise<void> {
  for (const path of [directories.lists, directories.archives, directories.noArchives]) {
    await makeCacheDirectory(join(path, "partial"));
  }
  await writeFile(directories.status, "");
  const sandboxUser = await sandboxUserFor(directories.archives);
  await writeFile(directories.config, aptConfiguration(directories, request.architecture, sandboxUser));
  await writeFile(directories.sources, formatSources(request.sources));
}

/**
 * As root apt fetches as its own user, who must reach the directories; below a private directory it cannot, and then
 * apt is told to stay root rather than warn. For an ordinary user there is nothing to drop.
 */
async function sandboxUserFor(path: string): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (let each = path; ; each = dirname(each)) {
    if (((await stat(each)).mode & 0o001) === 0) return "root";
    if (each === dirname(each)) return undefined;
  }
}

/** The package files that a selection comes to, with all they depend on. */
async function resolve(
  request: FetchRequest,
  directories: AptDirectories,
  selection: readonly string[],
): Promise<PackageFile[]> {
  const args = ["-q", "-y", "--print-uris", "-o", "Acquire::ForceHash=SHA256"];
  const none = ["-o", `Dir::Cache::archives=${directories.noArchives}`];
  const result = await apt(request, directories, [...args, ...none, "install", ...selection]);
  await mustSucceed(request, result, "apt-get install --print-uris");
  const packages = parsePrintUris(result.stdout);
  if (packages.length > 0) return packages;
  throw new PyroError("ENVIRONMENT_BUILD_FAILED", `apt finds no packages for ${request.suite}`, {
    hint: APT_HINT,
    retryable: true,
  });
}

async function download(
  request: FetchRequest,
  directories: AptDirectories,
  onShare: (share: number) => void,
): Promise<void> {
  const said: string[] = [];
  const onLine = (line: string): void => {
    const share = parseDownloadStatus(line);
    if (share !== undefined) onShare(share);
    else if (/^(Err|E:|W:)/.test(line)) said.push(line);
  };
  const args = ["-q", "-y", "--download-only", "-o", "APT::Status-Fd=1", "install", ...request.packages];
  const result = await apt(request, directories, args, onLine);
  await mustSucceed(request, { ...result, stdout: said.join("\n") }, "apt-get install --download-only");
}

async function apt(
  request: FetchRequest,
  directories: AptDirectories,
  args: readonly string[],
  onLine?: (line: string) => void,
): Promise<RunResult> {
  const env: Record<string, string> = { DEBIAN_FRONTEND: "noninteractive" };
  for (const name of PROXY_VARIABLES) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return await request.host.run("apt-get", ["-c", directories.config, ...args], {
    signal: request.signal,
    env,
    ...(onLine === undefined ? {} : { onLine }),
  });
}

async function mustSucceed(request: FetchRequest, result: RunResult, what: string): Promise<void> {
  if (result.code === 0) return;
  throw await toolError(what, result, request.root, { hint: APT_HINT, output: result.stdout.slice(-4_000) });
}

/** Removes archives that do not match (apt itself compares sizes only), and gives what has to be fetched. */
async function dropDamaged(
  archives: string,
  packages: readonly PackageFile[],
  signal: AbortSignal,
): Promise<PackageFile[]> {
  const missing: PackageFile[] = [];
  for (const each of packages) {
    const path = join(archives, each.file);
    if (await fileMatches(path, each.sizeBytes, each.sha256, signal)) continue;
    await rm(path, { force: true });
    missing.push(each);
  }
  return missing;
}

function describe(packages: readonly PackageFile[]): string {
  const names = packages.map((each) => each.name);
  return names.length > 5 ? `${names.slice(0, 5).join(", ")} and ${names.length - 5} more` : names.join(", ");
}

/** Whether all files of an earlier fetch are still there and whole. */
export async function stillFetched(
  root: string,
  packages: readonly PackageFile[],
  signal: AbortSignal,
): Promise<boolean> {
  const { archives } = aptDirectories(root);
  for (const each of packages) {
    if (!(await fileMatches(join(archives, each.file), each.sizeBytes, each.sha256, signal))) return false;
  }
  return true;
}
