import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile, cp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { complete } from "../../../src/kit/index.js";
import { HostPrograms } from "../../../src/image/host-tools.js";
import { qcow2Header } from "./qcow2.js";

/** Programs of the real host that the stand-ins, and pyro itself, may use; mmdebstrap is left out on purpose. */
const REAL = [
  "sh",
  "setpriv",
  "flock",
  "cat",
  "cp",
  "mkdir",
  "sed",
  "head",
  "sleep",
  "rm",
  "dpkg-deb",
  "true",
  "env",
];

/**
 * A host whose apt, mmdebstrap and qemu-img are small scripts: they answer from `pool` and append what they did
 * to `log`. Packages are real ones, made by dpkg-deb.
 */
export interface FakeHost extends AsyncDisposable {
  readonly directory: string;
  readonly path: string;
  readonly programs: HostPrograms;
  readonly catalogueDirectory: string;
  readonly cache: string;
  /** What the stand-ins did, in order. */
  log(): Promise<string[]>;
  /** Makes a stand-in fail: its next lines of script run before it does anything. */
  sabotage(program: string, script: string): Promise<void>;
  remove(program: string): Promise<void>;
}

const SCRIPTS: Record<string, string> = {
  "apt-config": `echo "LIST='/nonexistent'"; echo "PARTS='$FAKE/sources.d/'"`,
  "apt-get": `
case "$*" in
  "indextargets"*) echo "http://mirror.test/debian/ Debian"; exit 0 ;;
esac
conf=$2
dir() { sed -n "s/^$1 \\"\\(.*\\)\\";/\\1/p" "$conf"; }
case "$*" in
  *" update") echo update >>"$FAKE/log" ;;
  *--print-uris*"install ?essential usr-is-merged") head -1 "$FAKE/uris" ;;
  *--print-uris*) echo "Reading package lists..."; cat "$FAKE/uris" ;;
  *--download-only*)
    echo download >>"$FAKE/log"
    echo "dlstatus:1:40.0:Retrieving"
    cp "$FAKE"/pool/*.deb "$(dir Dir::Cache::archives)"
    echo "dlstatus:2:100.0:Retrieving" ;;
  *) echo "E: unexpected: $*" >&2; exit 100 ;;
esac`,
  "qemu-img": `for last; do prev=$at; at=$last; done; echo convert >>"$FAKE/log"
printf '    (50.00/100%%)\\r    (100.00/100%%)\\r'
case $(head -c 3 "$prev") in
  QFI) cat "$prev" ;;
  *) cat "$FAKE/qcow2-header"; head -c 65536 "$prev" ;;
esac >"$at"`,
};

/** mmdebstrap as a stand-in; installed by `withMmdebstrap`. */
const MMDEBSTRAP = `
if [ "$1" = --unshare-helper ]; then shift; exec "$@"; fi
echo mmdebstrap >>"$FAKE/log"
echo "$TMPDIR" >>"$FAKE/log"
mkdir -p "$TMPDIR/mmdebstrap.tree"
cat >/dev/null
printf 'layer of %s' "$*" | head -c 512
head -c 512 /dev/zero`;

export async function fakeHost(options: { readonly mmdebstrap?: boolean } = {}): Promise<FakeHost> {
  const directory = await mkdtemp(join(tmpdir(), "pyro-image-test-"));
  const path = join(directory, "bin");
  for (const name of ["bin", "pool", "sources.d"]) await mkdir(join(directory, name));
  for (const name of REAL) {
    const { stdout } = await complete("which", [name]);
    await symlink(stdout.trim(), join(path, name));
  }
  const script = async (name: string, text: string): Promise<void> => {
    await writeFile(join(path, name), `#!/bin/sh\nFAKE='${directory}'\nat=\n${text}\n`);
    await chmod(join(path, name), 0o755);
  };
  for (const [name, text] of Object.entries(SCRIPTS)) await script(name, text);
  if (options.mmdebstrap === true) await script("mmdebstrap", MMDEBSTRAP);
  await writeFile(join(directory, "qcow2-header"), qcow2Header());
  await writeFile(
    join(directory, "sources.d", "debian.sources"),
    "Types: deb\nURIs: http://mirror.test/debian\nSuites: trixie\nComponents: main\n",
  );
  await makePackages(directory);
  await makeCatalogue(directory);
  return {
    directory,
    path,
    programs: new HostPrograms({ path }),
    catalogueDirectory: join(directory, "environments"),
    cache: join(directory, "cache"),
    log: async () => (await readFile(join(directory, "log"), "utf8").catch(() => "")).trim().split("\n"),
    sabotage: async (program, text) => {
      const original = await readFile(join(path, program), "utf8");
      await writeFile(join(path, program), original.replace("\nat=\n", `\nat=\n${text}\n`));
    },
    remove: (program) => rm(join(path, program)),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Two small packages: one with files in /bin and /lib, hard and symbolic links and a long name. */
async function makePackages(directory: string): Promise<void> {
  const uris: string[] = [];
  for (const name of ["alpha", "beta"]) {
    const root = join(directory, `package-${name}`);
    await mkdir(join(root, "DEBIAN"), { recursive: true });
    await writeFile(
      join(root, "DEBIAN/control"),
      `Package: ${name}\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n`,
    );
    await mkdir(join(root, "bin"));
    await mkdir(join(root, "usr/lib", "long".repeat(20), "name".repeat(20)), { recursive: true });
    await writeFile(join(root, "usr/lib", "long".repeat(20), "name".repeat(20), "file"), name.repeat(300));
    await writeFile(join(root, "bin", name), `#!/bin/sh\necho ${name}\n`);
    await symlink(name, join(root, "bin", `${name}-link`));
    await complete("ln", [join(root, "bin", name), join(root, "bin", `${name}-hard`)]);
    const file = `${name}_1%3a2.0-1_all.deb`;
    const made = await complete("dpkg-deb", [
      "--root-owner-group",
      "--build",
      root,
      join(directory, "pool", file),
    ]);
    if (made.code !== 0) throw new Error(made.stderrTail);
    const bytes = await readFile(join(directory, "pool", file));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    uris.push(
      `'http://mirror.test/pool/${file.replaceAll("%", "%25")}' ${file} ${bytes.length} SHA256:${sha256}`,
    );
  }
  await writeFile(join(directory, "uris"), `${uris.join("\n")}\n`);
}

async function makeCatalogue(directory: string): Promise<void> {
  const target = join(directory, "environments");
  await mkdir(target);
  const source = new URL("../../../environments/", import.meta.url).pathname;
  for (const name of await readdir(source)) await cp(join(source, name), join(target, name));
  // Sizes of the stand-ins, so that a small disk will do.
  for (const name of ["debian-12.json", "debian-12-base.json", "debian-12-build.json"]) {
    const file = JSON.parse(await readFile(join(target, name), "utf8")) as Record<string, unknown>;
    await writeFile(
      join(target, name),
      JSON.stringify({ ...file, download_bytes: 1000, installed_bytes: 100_000 }),
    );
  }
}
