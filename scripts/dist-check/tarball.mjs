import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { must, run, stage } from "./run.mjs";

const MAX_BYTES = 40e6;
const NEEDED = [
  "bin/pyro",
  "dist/main.js",
  "dist/index.js",
  "dist/index.d.ts",
  "environments/catalogue.json",
  "runtime/bundle/vmlinux",
  "runtime/bundle/initramfs.cpio",
  "runtime/bundle/pyro-hold",
  "runtime/bundle/empty.qcow2",
  "runtime/bundle/manifest.json",
  "LICENSE",
  "THIRD-PARTY-NOTICES.md",
  "sbom.cdx.json",
];
const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall", "prepare"];

/**
 * What can be said of the packed package without installing it: its size, what it must and must not have, what publint
 * and are-the-types-wrong say, and that the notices and the bill of materials name the same parts.
 * @returns the path of the tarball in the directory
 */
export function checkTarball(directory, repository) {
  const name = readdirSync(directory).find((entry) => entry.endsWith(".tgz"));
  const path = join(directory, name);
  const { size } = statSync(path);
  stage(`${name}: ${(size / 1e6).toFixed(1)} MB`);
  must(size <= MAX_BYTES, `${name} has ${size} bytes, and at most ${MAX_BYTES} are promised`);

  const listed = run("tar", ["-tvzf", path]).trim().split("\n");
  const modes = new Map(listed.map((line) => [/ package\/(.*)$/.exec(line)?.[1], line.slice(0, 10)]));
  for (const file of NEEDED) must(modes.has(file), `${file} is not in the tarball`);
  for (const [file, mode] of modes) {
    const wanted = file === "bin/pyro" || file === "runtime/bundle/pyro-hold" ? "-rwxr-xr-x" : "-rw-r--r--";
    must(mode === wanted, `${file} has the mode ${mode} in the tarball, not ${wanted}`);
  }
  run("tar", ["-xzf", path, "-C", directory]);
  const read = (file) => readFileSync(join(directory, "package", file), "utf8");
  const described = JSON.parse(read("package.json"));
  must(Object.keys(described.dependencies ?? {}).length === 0, "the package depends on others");
  for (const script of INSTALL_SCRIPTS)
    must(
      described.scripts?.[script] === undefined,
      `the package has a script that runs at an install: ${script}`,
    );

  const code = [...modes.keys()].filter((file) => file.startsWith("dist/") && file.endsWith(".js"));
  const imported = new Set(
    code.flatMap((file) =>
      [...read(file).matchAll(/\.\/((?:chunk-\w+|mcp-sdk)\.js)/g)].map(([, name]) => name),
    ),
  );
  const entries = Object.values(described.exports).flatMap(({ types, default: main }) => [types, main]);
  for (const file of entries.filter((path) => path !== undefined))
    must(modes.has(file.slice(2)), `${file} of the exports is not in the tarball`);
  const reached = ["./dist/main.js", ...entries, ...[...imported].map((name) => `./dist/${name}`)];
  const unreached = code.filter((file) => !reached.includes(`./${file}`));
  must(unreached.length === 0, `no other file imports ${unreached.join(", ")}: left of an earlier build`);

  const notices = read("THIRD-PARTY-NOTICES.md");
  const bill = JSON.parse(read("sbom.cdx.json"));
  for (const { type, name, version } of bill.components.filter((component) => component.type !== "file"))
    must(
      notices.includes(`| ${name} | ${version} |`),
      `${type} ${name} ${version} is in the bill, not in the notices`,
    );

  run("npm", ["run", "-s", "check:publint", "--", path], { cwd: repository, stdio: ["ignore", 2, 2] });
  run("npm", ["run", "-s", "check:exports", "--", path], { cwd: repository });
  return path;
}
