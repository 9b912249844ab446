#!/usr/bin/env node
/**
 * Makes runtime/bundle/: the kernel, the initramfs with the guest agent as its init, the host's helper pyro-hold, the disk
 * that environments begin as, and a manifest with the SHA-256 of each. Same inputs, same bytes. Needs Debian's apt (kernel
 * package), dpkg-deb, Go, mke2fs and qemu-img; no root.
 *
 *   node runtime/build.mjs            build, or return at once where nothing changed
 *   node runtime/build.mjs --check    build a second time beside it and compare the bytes
 *   options: --out DIR, --cache-dir DIR, --force, --agent BINARY (instead of compiling guest/, for experiments)
 */
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cpioArchive } from "./build/cpio.mjs";
import { diskTools, emptyDisk } from "./build/file-system.mjs";
import { extractKernel } from "./build/kernel-image.mjs";
import { fetchKernelPackage, resolveKernelPackage, unpackKernelPackage } from "./build/kernel-package.mjs";
import { selectModules } from "./build/modules.mjs";
import { BuildError, progress, run } from "./build/progress.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const repository = dirname(here);
const guest = join(repository, "guest");
const MANIFEST_FORMAT = 3;

function main() {
  const { values } = parseArgs({
    options: {
      out: { type: "string", default: join(here, "bundle") },
      "cache-dir": { type: "string", default: join(here, "cache") },
      check: { type: "boolean", default: false },
      force: { type: "boolean", default: false },
      agent: { type: "string" },
    },
  });
  const out = resolve(values.out);
  const cache = resolve(values["cache-dir"]);
  const inputs = gatherInputs(values.agent);
  const present = readManifest(out);
  if (!values.check && !values.force && present?.inputs === inputs.digest && intact(out, present)) {
    progress(`up to date (${present.bundle_version}, kernel ${present.kernel.release})`);
    return;
  }
  const started = Date.now();
  removeLeftovers(dirname(out));
  const fresh = `${out}.new-${process.pid}`;
  const made = build(fresh, cache, inputs);
  if (values.check) {
    const difference = compare(made, present);
    rmSync(fresh, { recursive: true, force: true });
    if (difference !== undefined)
      throw new BuildError(
        `a second build differs: ${difference}`,
        "run `node runtime/build.mjs` first; if it did run, the build is not reproducible",
      );
    progress("reproducible: a second build has the same bytes");
    return;
  }
  replace(out, fresh);
  progress(`built ${relative(process.cwd(), out) || out} in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** What a build that was killed left behind. */
function removeLeftovers(parent) {
  for (const entry of existsSync(parent) ? readdirSync(parent) : []) {
    const pid = /^(?:\.scratch|.+\.(?:new|old))-(\d+)/.exec(entry)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(parent, entry), { recursive: true, force: true });
  }
}

/** Puts the new bundle in place; a build that runs at the same time may win, its bytes are the same. */
function replace(out, fresh) {
  const old = `${out}.old-${process.pid}`;
  if (existsSync(out)) renameSync(out, old);
  try {
    renameSync(fresh, out);
  } catch (error) {
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    rmSync(fresh, { recursive: true, force: true });
  }
  rmSync(old, { recursive: true, force: true });
}

/** Everything that decides the bytes: the kernel package, Go, the disk's tools, the agent's sources, these scripts, the version. */
function gatherInputs(agent) {
  const kernelPackage = resolveKernelPackage();
  const version = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")).version;
  const goVersion = run("go", ["env", "GOVERSION"], {
    cwd: guest,
    hint: "install Go 1.26 or later (https://go.dev/dl/)",
  })
    .toString("utf8")
    .trim();
  const disk = diskTools();
  const hash = createHash("sha256");
  hash.update(JSON.stringify([MANIFEST_FORMAT, kernelPackage, version, goVersion, disk]));
  const sources = [
    ...filesBelow(guest).filter((path) => !path.endsWith("_test.go")),
    ...filesBelow(join(here, "build")),
    fileURLToPath(import.meta.url),
  ];
  for (const path of sources) hash.update(`\0${relative(repository, path)}\0`).update(readFileSync(path));
  if (agent !== undefined) hash.update(readFileSync(agent));
  return { kernelPackage, version, goVersion, disk, agent, digest: hash.digest("hex") };
}

function filesBelow(directory) {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(go|mod|sum|mjs)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function build(directory, cache, inputs) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const scratch = mkdtempSync(join(dirname(directory), `.scratch-${process.pid}-`));
  try {
    const kernel = unpackKernelPackage(
      fetchKernelPackage(inputs.kernelPackage, cache),
      join(scratch, "kernel"),
    );
    const modules = selectModules(kernel.modules);
    const agent =
      inputs.agent === undefined
        ? compile(scratch, "pyro-agent", inputs.version)
        : readFileSync(inputs.agent);
    progress("writing vmlinux, initramfs.cpio, pyro-hold, empty.qcow2 and manifest.json");
    const files = {
      vmlinux: extractKernel(readFileSync(kernel.image)),
      "initramfs.cpio": cpioArchive(initramfs(agent, modules)),
      "pyro-hold": compile(scratch, "pyro-hold", inputs.version),
      "empty.qcow2": emptyDisk(scratch),
    };
    for (const [name, content] of Object.entries(files)) writeReadOnly(join(directory, name), content);
    chmodSync(join(directory, "pyro-hold"), 0o555);
    const manifest = manifestOf(inputs, kernel.release, modules, files);
    writeReadOnly(
      join(directory, "manifest.json"),
      `${JSON.stringify(manifest, null, 2)}
`,
    );
    chmodSync(directory, 0o755);
    return manifest;
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Readable by all, whatever the umask: QEMU may run as another user. */
function writeReadOnly(path, content) {
  writeFileSync(path, content);
  chmodSync(path, 0o444);
}

/** A static binary whose bytes depend only on its sources, the version and the Go release. */
function compile(scratch, program, version) {
  progress(`compiling ${program}`);
  const binary = join(scratch, program);
  const flags = `-s -w -buildid= -X main.version=${version}`;
  run("go", ["build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", binary, `./cmd/${program}`], {
    cwd: guest,
    env: {
      ...process.env,
      CGO_ENABLED: "0",
      GOOS: "linux",
      GOARCH: "amd64",
      GOAMD64: "v1",
      GOFLAGS: "-mod=readonly",
    },
    hint: "see the compiler's message above; `cd guest && go vet ./...` repeats it",
  });
  return readFileSync(binary);
}

function initramfs(agent, { lists, files }) {
  const directory = (path) => ({ path, mode: 0o040755 });
  const file = (path, content, mode = 0o100644) => ({ path, mode, content });
  return [
    ...["dev", "proc", "sys", "run", "tmp", "newroot", "modules"].map(directory),
    { path: "dev/console", mode: 0o020600, device: [5, 1] },
    { path: "dev/null", mode: 0o020666, device: [1, 3] },
    file("init", agent, 0o100755),
    ...Object.entries(lists).map(([group, order]) =>
      file(`modules/${group}.list`, Buffer.from(`${order.join("\n")}\n`)),
    ),
    ...[...files].map(([name, content]) => file(`modules/${name}`, content)),
  ];
}

function manifestOf(inputs, release, modules, files) {
  const described = Object.entries(files).map(([name, content]) => [
    name,
    { sha256: digest(content), size_bytes: content.length },
  ]);
  return {
    format: MANIFEST_FORMAT,
    bundle_version: inputs.version,
    architecture: "x86_64",
    kernel: {
      file: "vmlinux",
      release,
      package: inputs.kernelPackage.name,
      package_version: inputs.kernelPackage.version,
    },
    initramfs: { file: "initramfs.cpio", modules: modules.lists },
    agent: { version: inputs.version, go: inputs.goVersion },
    holder: { file: "pyro-hold" },
    empty_disk: { file: "empty.qcow2", ...inputs.disk },
    files: Object.fromEntries(described),
    licences: {
      vmlinux:
        "GPL-2.0-only WITH Linux-syscall-note; unmodified from Debian's package, whose source is `apt-get source linux`",
      "initramfs.cpio":
        "agent: Apache-2.0 with BSD-3-Clause and Apache-2.0 libraries; kernel modules: GPL-2.0, as above",
      "pyro-hold": "Apache-2.0 with BSD-3-Clause libraries",
      "empty.qcow2": "Apache-2.0: a file system without files",
    },
    inputs: inputs.digest,
  };
}

function readManifest(directory) {
  const path = join(directory, "manifest.json");
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

/** Whether every file is as the manifest says: a damaged bundle is built anew. */
function intact(directory, manifest) {
  return Object.entries(manifest.files).every(([name, { sha256 }]) => {
    const path = join(directory, name);
    return existsSync(path) && digest(readFileSync(path)) === sha256;
  });
}

function digest(content) {
  return createHash("sha256").update(content).digest("hex");
}

function compare(made, present) {
  if (present === undefined) return "there is no first build";
  for (const [name, { sha256 }] of Object.entries(made.files)) {
    if (present.files[name]?.sha256 !== sha256) return name;
  }
  return JSON.stringify(made) === JSON.stringify(present) ? undefined : "manifest.json";
}

try {
  main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  process.stderr.write(`runtime: ${error.message}\n${error.hint ? `hint: ${error.hint}\n` : ""}`);
  process.exitCode = 1;
}
