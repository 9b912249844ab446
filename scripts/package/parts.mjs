import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readBuildRecord } from "../build/record.mjs";
import { ALLOWED, INLINED, licencesIn, recognise, textsOf } from "./licences.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const GPL_TEXT = "/usr/share/common-licenses/GPL-2";
const KERNEL_LICENCE = "GPL-2.0-only WITH Linux-syscall-note";

/**
 * What others wrote and the package contains, sorted by name within each kind: npm packages in dist/, as the last build
 * recorded them; Go modules and Go itself in the agent and pyro-hold; Linux.
 * @returns {Array<{kind: "npm" | "go" | "linux", name: string, version: string, licence: string, texts: string[],
 *   purl: string, where: string}>} `licence`: an SPDX expression; `where`: what of the package has it
 */
export function parts() {
  return [...npmParts(), ...goParts(), kernelPart()];
}

/** What keeps a part out of the package, a line each; empty when all is in order. */
export function objections(found) {
  return found.flatMap(({ kind, name, version, licence, texts }) => {
    const label = `${name} ${version}`;
    if (licence === undefined) return [`${label}: no licence that scripts/package/licences.mjs knows`];
    const bad = licencesIn(licence).filter(
      (one) => !ALLOWED.includes(one) && !(kind === "linux" && one === KERNEL_LICENCE),
    );
    if (bad.length > 0)
      return [`${label}: ${bad.join(", ")} is not in the list of scripts/package/licences.mjs`];
    return texts.length > 0 ? [] : [`${label}: brings no text of its licence; name who holds its copyright`];
  });
}

function npmParts() {
  const { code, declared } = readBuildRecord();
  if (code === undefined || declared === undefined)
    throw new Error("nothing is built: run `make build` first");
  const mit = readFileSync(join(root, "node_modules/zod/LICENSE"), "utf8");
  const mitTerms = mit.slice(mit.indexOf("Permission is hereby granted")).trim();
  const of = (which) => [...new Set([code, declared].flatMap(({ packages }) => packages[which]))].sort();
  const installed = of("installed").map((path) => {
    const directory = join(root, path);
    const { name, version, license } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
    const licence = license?.replace(/^\((.*)\)$/, "$1");
    const texts = licence === undefined ? [] : textsOf(name, directory, licence, mitTerms);
    return npmPart(name, version, licence, texts);
  });
  const declarations = readdirSync(join(root, "dist"), { recursive: true }).filter((name) =>
    name.endsWith(".d.ts"),
  );
  const types = declarations.map((name) => readFileSync(join(root, "dist", name), "utf8")).join("\n");
  const inlined = of("inlined").flatMap((label) => {
    const [, name, version] = /^(.+)@(.+)$/.exec(label);
    const { licence, holders, mark } = INLINED[name] ?? {};
    if (mark !== undefined && !types.includes(mark)) return [];
    return npmPart(
      name,
      version,
      licence,
      holders === undefined ? [] : [`${holders.join("\n")}\n\n${mitTerms}`],
    );
  });
  return [...installed, ...inlined].sort((a, b) => (a.purl < b.purl ? -1 : 1));
}

function npmPart(name, version, licence, texts) {
  const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
  return { kind: "npm", name, version, licence, texts, purl, where: "dist/" };
}

function goParts() {
  const where = "runtime/bundle: initramfs.cpio (pyro-agent), pyro-hold";
  const template = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}";
  const modules = new Set(go(["list", "-deps", "-f", template, "./cmd/pyro-agent", "./cmd/pyro-hold"]));
  const [version, goRoot] = go(["env", "GOVERSION", "GOROOT"]);
  const listed = [...modules].sort().map((line) => line.split("\t"));
  return [...listed, ["Go", version.replace(/^go/, ""), goRoot]].map(([name, version, directory]) => {
    const texts = textsOf(name, directory, "", "");
    // A grant of patents is passed on, and is no licence of its own.
    const licence = recognise(texts.filter((text) => !text.startsWith("Additional IP Rights Grant")));
    const purl = name === "Go" ? `pkg:golang/stdlib@${version}` : `pkg:golang/${name}@${version}`;
    return { kind: "go", name, version, licence, texts, purl, where };
  });
}

function go(args) {
  const env = { ...process.env, CGO_ENABLED: "0", GOOS: "linux", GOARCH: "amd64", GOFLAGS: "-mod=readonly" };
  const said = execFileSync("go", args, { cwd: join(root, "guest"), env, encoding: "utf8" });
  return said.split("\n").filter((line) => line !== "");
}

function kernelPart() {
  const path = join(root, "runtime/bundle/manifest.json");
  if (!existsSync(path)) throw new Error("there is no runtime bundle: run `make runtime` first");
  const { package: binary, package_version: version } = JSON.parse(readFileSync(path, "utf8")).kernel;
  const source = [
    `Unmodified from Debian's package ${binary} ${version}: the kernel (vmlinux) and the modules in initramfs.cpio.`,
    `Its corresponding source is Debian's source package linux ${version}: \`apt-get source linux=${version}\` with`,
    `Debian's deb-src sources, or https://snapshot.debian.org/package/linux/${version}/ also when it is no longer current.`,
  ].join("\n");
  return {
    kind: "linux",
    name: "linux",
    version,
    licence: KERNEL_LICENCE,
    texts: [source, readFileSync(GPL_TEXT, "utf8").trim()],
    purl: `pkg:deb/debian/${binary}@${encodeURIComponent(version)}?arch=amd64&distro=debian-12`,
    where: "runtime/bundle: vmlinux, modules in initramfs.cpio",
  };
}
