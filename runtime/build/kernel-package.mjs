import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BuildError, progress, run } from "./progress.mjs";

/** Debian's name for "the current kernel for virtual machines"; it depends on the real package. */
const META_PACKAGE = "linux-image-cloud-amd64";
const REFRESH = "sudo apt-get update";

/** @returns {{name: string, version: string, sha256: string}} the real kernel package that apt would install */
export function resolveKernelPackage() {
  const hint = `refresh apt's package lists with \`${REFRESH}\`; the kernel comes from Debian's package ${META_PACKAGE}`;
  const meta = show(META_PACKAGE);
  if (meta === undefined)
    throw new BuildError(
      `apt does not know the package ${META_PACKAGE}: its package lists are missing or empty`,
      hint,
    );
  const name = /linux-image-[0-9][^\s,(|]*/.exec(meta.Depends ?? "")?.[0];
  if (name === undefined)
    throw new BuildError(`${META_PACKAGE} depends on no kernel: ${meta.Depends ?? "nothing"}`, hint);
  const real = show(name);
  if (real === undefined) throw new BuildError(`apt does not know the package ${name}`, hint);
  return { name, version: real.Version, sha256: real.SHA256 };
}

/** The first (candidate) record of a package. */
function show(name) {
  let text;
  try {
    text = run("apt-cache", ["--no-all-versions", "show", name], {
      hint: "the kernel is fetched by apt: build the bundle on Debian",
    }).toString("utf8");
  } catch (error) {
    if (error instanceof BuildError && !error.message.startsWith("apt-cache is not")) return undefined;
    throw error;
  }
  const fields = {};
  for (const line of text.split("\n\n")[0].split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0 && !line.startsWith(" ")) fields[line.slice(0, colon)] = line.slice(colon + 1).trim();
  }
  return fields.Package === undefined ? undefined : fields;
}

/** The package's file: from the cache where its SHA-256 is the one apt states, else by `apt-get download`. */
export function fetchKernelPackage({ name, version, sha256 }, cacheDirectory) {
  mkdirSync(cacheDirectory, { recursive: true });
  const kept = join(cacheDirectory, `${name}_${version.replaceAll(":", "_")}.deb`);
  if (existsSync(kept)) {
    if (digest(kept) === sha256) return kept;
    progress(`cached ${name} is damaged, fetching it again`);
    rmSync(kept);
  }
  progress(`fetching ${name} ${version} (about 27 MB)`);
  const scratch = mkdtempSync(join(cacheDirectory, "fetch-"));
  try {
    // As root apt drops to a user that may not enter this directory, and warns; the file is verified either way.
    const sandbox = process.getuid() === 0 ? ["-o", "APT::Sandbox::User=root"] : [];
    run("apt-get", [...sandbox, "download", `${name}=${version}`], {
      cwd: scratch,
      hint: `is the network there? if the lists are old: \`${REFRESH}\`, then again`,
    });
    const file = readdirSync(scratch).find((entry) => entry.endsWith(".deb"));
    if (file === undefined || digest(join(scratch, file)) !== sha256) {
      throw new BuildError(
        `the fetched ${name} ${version} is not the file that apt's lists describe`,
        `refresh them with \`${REFRESH}\`, then again`,
      );
    }
    renameSync(join(scratch, file), kept);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  for (const entry of readdirSync(cacheDirectory)) {
    if (entry.endsWith(".deb") && join(cacheDirectory, entry) !== kept) rmSync(join(cacheDirectory, entry));
  }
  return kept;
}

/** Unpacks the package into a directory, without root, and gives the paths of what matters. */
export function unpackKernelPackage(deb, into) {
  progress("unpacking the kernel");
  run("dpkg-deb", ["-x", deb, into]);
  const boot = readdirSync(join(into, "boot"));
  const image = boot.find((entry) => entry.startsWith("vmlinuz-"));
  if (image === undefined) throw new BuildError(`${deb} holds no vmlinuz`, "");
  const release = image.slice("vmlinuz-".length);
  // Debian 13 merges /lib into /usr/lib inside the package.
  const modules = ["lib/modules", "usr/lib/modules"]
    .map((path) => join(into, path, release))
    .find((path) => existsSync(path));
  if (modules === undefined) throw new BuildError(`${deb} holds no modules of ${release}`, "");
  return { release, image: join(into, "boot", image), modules };
}

function digest(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
