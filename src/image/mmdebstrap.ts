import { randomBytes } from "node:crypto";
import { chmod, mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { shellQuoted } from "../kit/index.js";
import { requireSpace, toolError, type HostPrograms } from "./host-tools.js";

/** How mmdebstrap gets the root it needs: a user namespace, or root itself. */
export type MmdebstrapMode = "unshare" | "root";

/**
 * The mode in which mmdebstrap works on this host, found out by trying; undefined where it does not work: it is not
 * there, the user has no range of subordinate ids, user namespaces are forbidden, or root may not mount.
 */
export async function mmdebstrapMode(
  host: HostPrograms,
  signal?: AbortSignal,
): Promise<MmdebstrapMode | undefined> {
  if (!(await host.has("mmdebstrap"))) return undefined;
  const options = signal === undefined ? {} : { signal };
  const helper = await host.run("mmdebstrap", ["--unshare-helper", "true"], options);
  if (helper.code === 0) return "unshare";
  if (process.getuid?.() !== 0 || !(await host.has("unshare"))) return undefined;
  const mount = await host.run("unshare", ["--mount", "true"], options);
  return mount.code === 0 ? "root" : undefined;
}

export interface BootstrapRequest {
  readonly host: HostPrograms;
  readonly mode: MmdebstrapMode;
  readonly suite: string;
  readonly architecture: string;
  /** deb822 text. */
  readonly sources: string;
  /** apt's lists and archives, as fetched. */
  readonly lists: string;
  readonly archives: string;
  /** Names of all packages, dependencies included. */
  readonly packages: readonly string[];
  /** About what is unpacked; for the check of free space. */
  readonly installedBytes: number;
  /** The pull's own directory, where notes for a later sweep lie. */
  readonly directory: string;
  /** The layer to write. */
  readonly target: string;
  readonly signal: AbortSignal;
}

/** A fixed time for all files that have none of their own, so that the same packages give the same bytes. */
const SOURCE_DATE_EPOCH = "1700000000";
/**
 * The tree is made here and not in the cache: in unshare mode other ids must reach it, and a home is often closed.
 * /var/tmp and not /tmp, which may be memory.
 */
const TREE_PARENT = "/var/tmp";
const TREE_NOTE = "tree-path";

/**
 * Installs the fetched packages into a tree and writes that as a tar. Nothing is fetched: lists and archives are
 * copied into the tree before mmdebstrap looks for them.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED, DISK_FULL
 */
export async function bootstrapLayer(request: BootstrapRequest): Promise<void> {
  await requireSpace(TREE_PARENT, request.installedBytes * 1.3, "unpacking packages");
  await removeTree(request.host, request.directory);
  const tree = join(TREE_PARENT, `pyro-tree-${randomBytes(8).toString("hex")}`);
  // Noted first: whatever kills this process, the next start finds and removes the tree.
  await writeFile(join(request.directory, TREE_NOTE), tree);
  await mkdir(tree, { mode: 0o711 });
  await chmod(tree, request.mode === "unshare" ? 0o1777 : 0o711);
  try {
    await bootstrap(request, tree);
  } finally {
    await removeTree(request.host, request.directory);
  }
}

async function bootstrap(request: BootstrapRequest, tree: string): Promise<void> {
  const sources = join(request.directory, "bootstrap.sources");
  await writeFile(sources, request.sources);
  await using input = await open(sources, "r");
  await rm(request.target, { force: true });
  await using output = await open(request.target, "wx", 0o600);
  const exit = await request.host.run("mmdebstrap", mmdebstrapArguments(request), {
    signal: request.signal,
    env: { TMPDIR: tree, SOURCE_DATE_EPOCH, DEBIAN_FRONTEND: "noninteractive" },
    stdin: input.fd,
    stdout: output.fd,
    // Its processes ignore TERM; what it mounts is in a namespace of its own and goes with them.
    killGroup: true,
  });
  if (exit.code !== 0) throw await toolError("mmdebstrap", exit, request.directory);
  await output.sync();
}

/** The argv of mmdebstrap, without its name. */
export function mmdebstrapArguments(
  request: Pick<BootstrapRequest, "mode" | "suite" | "architecture" | "lists" | "archives" | "packages">,
): string[] {
  return [
    `--mode=${request.mode}`,
    // Exactly the packages given, all of which apt has resolved already.
    "--variant=custom",
    "--format=tar",
    "--skip=update,check/qemu",
    // The tree is thrown away when this fails, so nothing is gained by syncing each file.
    "--dpkgopt=force-unsafe-io",
    `--architectures=${request.architecture}`,
    `--setup-hook=mkdir -p "$1/var/cache/apt/archives" "$1/var/lib/apt/lists"`,
    // Merged directories from the start, as usr-is-merged asserts.
    `--setup-hook=for d in bin lib lib64 sbin; do mkdir -p "$1/usr/$d"; ln -s "usr/$d" "$1/$d"; done`,
    // Copied by mmdebstrap itself, which splits the text as a shell would: in unshare mode a hook's shell has no access to a
    // closed home.
    `--setup-hook=sync-in ${shellQuoted(request.lists)} /var/lib/apt/lists`,
    `--setup-hook=sync-in ${shellQuoted(request.archives)} /var/cache/apt/archives`,
    `--include=${request.packages.join(",")}`,
    request.suite,
    "-",
    "-",
  ];
}

/**
 * Removes the tree that a pull's directory notes, if any. Its files may belong to subordinate ids, which only
 * mmdebstrap's helper can remove for an ordinary user. What is mounted there, and be it the host's own /dev, is
 * unmounted before; where that fails the tree stays, and so does the note.
 */
export async function removeTree(host: HostPrograms, directory: string): Promise<void> {
  const note = join(directory, TREE_NOTE);
  const tree = await readFile(note, "utf8").catch(() => "");
  // Only ever a path of this shape, whatever the note says.
  if (/^\/var\/tmp\/pyro-tree-[0-9a-f]{16}$/.test(tree)) {
    if (!(await unmountBelow(host, tree))) return;
    try {
      await rm(tree, { recursive: true, force: true });
    } catch {
      await host.run("mmdebstrap", ["--unshare-helper", "rm", "-rf", tree]);
      await rm(tree, { recursive: true, force: true });
    }
  }
  await rm(note, { force: true });
}

/** Whether nothing is mounted below a path any more. */
async function unmountBelow(host: HostPrograms, tree: string): Promise<boolean> {
  const mounted = async (): Promise<string[]> => {
    const lines = (await readFile("/proc/self/mountinfo", "utf8")).split("\n");
    return lines.map((line) => line.split(" ")[4] ?? "").filter((point) => point.startsWith(`${tree}/`));
  };
  for (const point of (await mounted()).reverse()) await host.run("umount", [point]);
  return (await mounted()).length === 0;
}
