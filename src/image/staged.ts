import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import type { TarEntry } from "../kit/index.js";
import type { PackageFile } from "./apt.js";
import type { BuildStep } from "./builder.js";
import { toolError, type HostPrograms } from "./host-tools.js";
import { LayerFile } from "./layer-file.js";
import { readTar } from "./tar.js";

export interface StageRequest {
  readonly host: HostPrograms;
  readonly archives: string;
  readonly packages: readonly PackageFile[];
  /** File names of the packages that dpkg cannot run without. */
  readonly essential: readonly string[];
  readonly installScript: string;
  /** The layer to write. */
  readonly target: string;
  readonly signal: AbortSignal;
  readonly onProgress: (bytesDone: number, bytesTotal: number, message: string) => void;
}

/** Directories at the root that are links into /usr on Debian 12 and later. */
const MERGED = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];
/** Links that exist from the start, as debootstrap makes them. */
const MERGED_LINKS = ["bin", "lib", "lib64", "sbin"];
const DEVICES = [
  ["null", 1, 3],
  ["zero", 1, 5],
  ["full", 1, 7],
  ["random", 1, 8],
  ["urandom", 1, 9],
  ["tty", 5, 0],
] as const;
const DEBS = "./.pyro-build/debs";

/**
 * Makes a layer without root: the essential packages unpacked, so that a shell and dpkg run, and all packages as files
 * for dpkg to install inside the builder VM. The packages' content is stored uncompressed, because decompressing is
 * quick here and slow in an emulated guest. The same packages give the same bytes.
 */
export async function stageLayer(request: StageRequest): Promise<BuildStep[]> {
  await using layer = await LayerFile.create(request.target);
  await writeSkeleton(layer, request.installScript);
  const packages = [...request.packages].sort((a, b) => (a.file < b.file ? -1 : 1));
  const essential = packages.filter((each) => request.essential.includes(each.file));
  const total = [...essential, ...packages].reduce((sum, each) => sum + each.sizeBytes, 0);
  let done = 0;
  const progress = ({ name, sizeBytes }: PackageFile): void => {
    request.onProgress(done, total, `unpacking ${name}`);
    done += sizeBytes;
  };
  for (const each of essential) {
    progress(each);
    await unpackPackage(request, layer, each.file);
  }
  await layer.directory(DEBS);
  for (const each of packages) {
    progress(each);
    await repackPackage(request, layer, each.file);
  }
  await layer.finish();
  return [{ argv: ["/bin/sh", "/.pyro-build/install.sh"], env: [] }];
}

async function writeSkeleton(layer: LayerFile, installScript: string): Promise<void> {
  await layer.directory("./");
  await layer.directory("./usr");
  for (const name of MERGED_LINKS) await layer.directory(`./usr/${name}`);
  for (const name of MERGED_LINKS) await layer.symlink(`./${name}`, `usr/${name}`);
  await layer.directory("./dev");
  for (const [name, major, minor] of DEVICES) await layer.device(`./dev/${name}`, major, minor);
  await layer.directory("./.pyro-build");
  await layer.file("./.pyro-build/install.sh", installScript, 0o755);
}

/** The entry as it has to lie in a tree whose /bin, /lib, … are links: tar would put a directory in the link's place. */
export function mergeUsr(entry: TarEntry): TarEntry {
  // A hard link's target is a path in the archive; a symbolic link's is text, which resolves the same either way.
  const linkName = entry.type === "1" ? mergedPath(entry.linkName) : entry.linkName;
  return { ...entry, name: mergedPath(entry.name), linkName };
}

function mergedPath(path: string): string {
  const plain = path.replace(/^\.?\/+/, "");
  const [first = ""] = plain.split("/", 1);
  // "bin" as a link of its own (base-files ships none today) must not become usr/bin.
  const isBelow = plain.length > first.length;
  return MERGED.includes(first) && isBelow ? `./usr/${plain}` : path;
}

/** What no program needs in order to run: dpkg lays it down when it installs the package, a second time is a waste. */
const NEEDLESS = /^\.\/usr\/share\/(?:bash-completion|doc|info|lintian|locale|man)\//;

async function unpackPackage(request: StageRequest, layer: LayerFile, file: string): Promise<void> {
  let size = 0;
  let left = 0;
  let skipped = false;
  await packageStream(request, "--fsys-tarfile", file, (stream) =>
    readTar(stream, {
      entry: async (entry) => {
        skipped = NEEDLESS.test(entry.name);
        size = left = entry.type === "0" ? entry.size : 0;
        if (!skipped) await layer.header(mergeUsr(entry));
      },
      content: async (chunk) => {
        if (skipped) return;
        await layer.write(chunk);
        left -= chunk.length;
        if (left === 0) await layer.pad(size);
      },
    }),
  );
}

/** The package as dpkg reads it (deb(5)), its members uncompressed. */
async function repackPackage(request: StageRequest, layer: LayerFile, file: string): Promise<void> {
  await layer.streamed(`${DEBS}/${file}`, async () => {
    await layer.write(Buffer.from("!<arch>\n"));
    const version = Buffer.from("2.0\n");
    await layer.write(encodeArHeader("debian-binary", version.length));
    await layer.write(version);
    for (const [member, option] of [
      ["control.tar", "--ctrl-tarfile"],
      ["data.tar", "--fsys-tarfile"],
    ] as const) {
      const at = layer.sizeBytes;
      await layer.write(encodeArHeader(member, 0));
      await packageStream(request, option, file, async (stream) => {
        for await (const chunk of stream) await layer.write(chunk as Buffer);
      });
      const size = layer.sizeBytes - at - AR_HEADER_BYTES;
      if (size % 2 === 1) await layer.write(Buffer.from("\n"));
      await layer.patch(at, encodeArHeader(member, size));
    }
  });
}

const AR_HEADER_BYTES = 60;

/** A member's header in the common ar format (deb(5)). */
function encodeArHeader(name: string, size: number): Buffer {
  const fields = [name.padEnd(16), "0".padEnd(12), "0".padEnd(6), "0".padEnd(6), "100644".padEnd(8)];
  return Buffer.from(`${fields.join("")}${String(size).padEnd(10)}\`\n`, "latin1");
}

async function packageStream(
  request: StageRequest,
  option: "--fsys-tarfile" | "--ctrl-tarfile",
  file: string,
  consume: (stream: Readable) => Promise<void>,
): Promise<void> {
  const { host, signal } = request;
  const exit = await host.run("dpkg-deb", [option, join(request.archives, file)], { signal, consume });
  if (exit.code !== 0) throw await toolError(`unpacking ${file}`, exit, dirname(request.target));
}
