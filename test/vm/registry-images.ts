/** Images for the tests of pulls: trees of real tools and of the test's own, and the daemon that may fetch them. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatSources, HostPrograms, readHostSources } from "../../src/image/index.js";
import { baseEnvironment, complete, networkVariables } from "../../src/kit/index.js";
import { tool } from "../registry/real-registry.js";
import { CAPABILITY, entry } from "./tar-entries.js";

const SUITE = "bookworm";

/** Takes HOME for one of its own, with a configuration that allows these registries and says this, until it is disposed of. */
export async function homeWith(registries: readonly string[], more = ""): Promise<AsyncDisposable> {
  const home = await mkdtemp(join(tmpdir(), "pyro-home-"));
  await mkdir(join(home, ".config/pyro"), { recursive: true });
  const text = `insecure_registries = ${JSON.stringify(registries)}\n${more}`;
  await writeFile(join(home, ".config/pyro/config.toml"), text);
  const before = process.env["HOME"];
  process.env["HOME"] = home;
  return {
    [Symbol.asyncDispose]: async () => {
      if (before === undefined) delete process.env["HOME"];
      else process.env["HOME"] = before;
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** A file of apt's with where the host has Debian's packages from. */
export async function hostSources(directory: string): Promise<string> {
  const sources = await readHostSources({
    ...{ host: new HostPrograms(), suite: SUITE, signal: AbortSignal.timeout(60_000) },
  });
  const list = join(directory, "host.sources");
  await writeFile(list, formatSources(sources));
  return list;
}

/**
 * Makes a Debian by mmdebstrap, from where the host has its own.
 * @param words which: the variant, and what is changed of it; by default its essential packages
 */
export async function debianTar(
  directory: string,
  words: readonly string[] = ["--variant=essential"],
): Promise<string> {
  const list = await hostSources(directory);
  const path = join(directory, "debian.tar");
  const env = { ...baseEnvironment(), ...networkVariables(process.env) };
  const { code, stderrTail } = await complete("mmdebstrap", [...words, SUITE, path, list], { env });
  if (code !== 0) throw new Error(`mmdebstrap ended with ${code}: ${stderrTail}`);
  return path;
}

/** What the shell of the busybox image finds. */
const APPLETS = ["sh", "cat", "echo", "id", "ls", "true"];

/** A small system, whose commands are links to one program. */
export async function busyboxTar(directory: string): Promise<string> {
  const tree = join(directory, "busybox");
  await mkdir(join(tree, "bin"), { recursive: true });
  await tool("cp", "/bin/busybox", join(tree, "bin/busybox"));
  for (const name of APPLETS) await tool("ln", join(tree, "bin/busybox"), join(tree, "bin", name));
  const path = join(directory, "busybox.tar");
  await tool("tar", "-C", tree, "--owner=0", "--group=0", "--numeric-owner", "-cf", path, ".");
  return path;
}

/** One static program, and nothing else: not even a directory. */
export async function singleTar(directory: string): Promise<string> {
  const path = join(directory, "single.tar");
  const owner = ["--owner=0", "--group=0", "--numeric-owner", "--mode=755"];
  await tool("tar", "-C", "/bin", ...owner, "-cf", path, "busybox");
  return path;
}

const file = (name: string, text: string, fields: Parameters<typeof entry>[2] = {}): Buffer =>
  entry(name, "0", { content: Buffer.from(text), ...fields });
const directories = (...names: string[]): Buffer[] => names.map((name) => entry(`${name}/`, "5"));
const link = (name: string, linkName: string): Buffer => entry(name, "2", { linkName, mode: 0o777 });
const hardLink = (name: string, linkName: string): Buffer => entry(name, "1", { linkName });
/** Whiteouts are empty files (OCI image specification, layer.md). */
const whiteout = (path: string): Buffer => file(path, "");
const opaque = (directory: string): Buffer => file(`${directory}/.wh..wh..opq`, "");

/** Six layers over the given program, with each thing that one layer can do to what is below it. */
export function sixLayers(program: Buffer): Buffer[] {
  const layers: Buffer[][] = [
    [
      entry("./", "5", { mode: 0o751 }),
      ...directories("bin", "dev", "etc", "opt", "srv", "srv/tree", "srv/tree/deep", "var", "var/cache"),
      ...directories("var/cache/deep", "var/lib", "var/lib/gone", "var/lib/gone/deep"),
      entry("bin/busybox", "0", { mode: 0o755, content: program }),
      hardLink("bin/sh", "bin/busybox"),
      file("etc/old", "old\n"),
      file("etc/kept", "kept\n"),
      file("etc/note", "note\n", { xattrs: { "user.note": "of the first", "user.gone": "soon" } }),
      ...[file("opt/one", "linked\n"), hardLink("opt/two", "opt/one"), hardLink("opt/three", "opt/one")],
      ...[link("srv/current", "../opt"), link("etc/link", "../etc/kept"), link("srv/other", "one")],
      ...[file("srv/tree/deep/file", "deep\n"), file("srv/file", "a file\n")],
      ...["a", "b", "deep/c"].map((name) => file(`var/cache/${name}`, name)),
      ...[file("var/lib/gone/deep/f", "f"), file("var/lib/back", "first\n")],
    ],
    [
      whiteout("etc/.wh.old"),
      // What the same layer has in it stays, also where it comes first.
      file("var/cache/before", "stays\n"),
      opaque("var/cache"),
      ...[
        ...directories("var/cache/deep"),
        file("var/cache/deep/new", "new\n"),
        whiteout("var/lib/.wh.back"),
      ],
    ],
    [
      // A link for a directory and a directory for a link, a file for each of them and each for a file.
      ...[
        ...directories("srv/current"),
        file("srv/current/inside", "not in opt\n"),
        link("srv/tree", "../opt"),
      ],
      ...[file("etc/link", "a file now\n"), ...directories("srv/file"), file("srv/file/inside", "in\n")],
      ...[link("srv/other", "two"), file("var/cache/deep", "was a directory\n")],
    ],
    [
      file("etc/note", "note\n", { xattrs: { "user.note": "a\x00b" }, uid: 1000, gid: 1001, mode: 0o640 }),
      entry("bin/ping", "0", {
        ...{ mode: 0o755, content: Buffer.from("#!") },
        xattrs: { "security.capability": CAPABILITY },
      }),
      file("bin/su", "#!", { mode: 0o4755 }),
      file("bin/wall", "#!", { mode: 0o2755, gid: 5 }),
      entry("var/spool/", "5", { mode: 0o1777, uid: 70_000, gid: 70_001, xattrs: { "user.dir": "yes" } }),
      entry("dev/null", "3", { mode: 0o666, deviceMajor: 1, deviceMinor: 3 }),
      entry("dev/disk", "4", { mode: 0o660, gid: 6, deviceMajor: 253, deviceMinor: 300 }),
      entry("dev/pipe", "6", { mode: 0o600 }),
      entry("etc/owned", "2", { linkName: "nowhere", uid: 7, gid: 8, mode: 0o777 }),
    ],
    [
      // Of three names of one file: another is added, one goes, and one gets a file of its own.
      ...[hardLink("opt/four", "opt/one"), whiteout("opt/.wh.two"), file("opt/three", "alone\n")],
      ...[hardLink("dev/pipe-too", "dev/pipe"), hardLink("etc/owned-too", "etc/owned")],
      ...[whiteout("dev/.wh.disk"), entry("etc/", "5", { mode: 0o750, gid: 50 })],
    ],
    [
      whiteout("var/lib/.wh.gone"),
      file("var/lib/back", "again\n"),
      file(`opt/${"long".repeat(40)}`, "long\n"),
      file("opt/\xe9\xff", "no UTF-8\n"),
      // Nobody says what directories these are in.
      file("implied/deep/file", "implied\n"),
    ],
  ];
  return layers.map((entries) => Buffer.concat([...entries, Buffer.alloc(1024)]));
}
