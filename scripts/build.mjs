// Bundles the command and the SDK into dist/ (ESM, split, dependencies included) and emits the declarations.
// Nothing is done when no source changed. `--no-types` leaves the declarations out, `--force` builds anyway.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const stampPath = join(root, "node_modules/.cache/pyro/build.json");
// A running daemon or MCP server may still import a chunk of the build it was started from.
const KEEP_OLD_CHUNKS_MS = 3600_000;

/** Path, size and time of each source; equal fingerprints mean that nothing changed. */
function fingerprint() {
  const hash = createHash("sha256");
  const visit = (path) => {
    const info = statSync(path);
    if (info.isDirectory()) for (const name of readdirSync(path).sort()) visit(join(path, name));
    else hash.update(`${relative(root, path)}\0${info.size}\0${info.mtimeMs}\n`);
  };
  for (const path of ["src", "package.json", "tsconfig.build.json", "scripts/build.mjs"])
    visit(join(root, path));
  const lock = join(root, "node_modules/.package-lock.json");
  if (existsSync(lock)) visit(lock);
  return hash.digest("hex");
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(stampPath, "utf8"));
  } catch {
    return {};
  }
}

async function bundle() {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const result = await build({
    absWorkingDir: root,
    entryPoints: { main: "src/main.ts", index: "src/index.ts" },
    outdir: "dist",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    chunkNames: "chunk-[hash]",
    write: false,
    metafile: true,
    legalComments: "none",
    define: { PYRO_VERSION: JSON.stringify(version) },
    // Bundled CommonJS (commander) asks for Node's own modules by require.
    banner: {
      js: 'import { createRequire as pyroCreateRequire } from "node:module";const require = pyroCreateRequire(import.meta.url);',
    },
    logLevel: "warning",
  });
  const hash = createHash("sha256");
  const outputs = result.outputFiles.sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const file of outputs) hash.update(`${relative(dist, file.path)}\0`).update(file.contents);
  // Chunks first, entries last, each whole: a command started meanwhile sees the old build or the new one.
  outputs.sort((a, b) => Number(b.path.includes("chunk-")) - Number(a.path.includes("chunk-")));
  mkdirSync(dist, { recursive: true });
  for (const file of outputs) replace(file.path, file.contents);
  replace(join(dist, "build-id"), `${hash.digest("hex").slice(0, 16)}\n`);
  removeOld(new Set(outputs.map((file) => file.path)));
}

function replace(path, content) {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
}

function removeOld(current) {
  for (const name of readdirSync(dist)) {
    const path = join(dist, name);
    if (!name.endsWith(".js") || current.has(path)) continue;
    if (Date.now() - statSync(path).mtimeMs > KEEP_OLD_CHUNKS_MS) rmSync(path);
  }
}

/** Declarations only: types are checked by `npm run check:types`. */
function declarations() {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json", "--noCheck", "--stripInternal"], {
    cwd: root,
    stdio: "inherit",
  });
}

const now = fingerprint();
const stamp = process.argv.includes("--force") ? {} : readStamp();
const types = !process.argv.includes("--no-types");
const bundled = stamp.bundle === now && existsSync(join(dist, "main.js"));
const declared = stamp.types === now && existsSync(join(dist, "types/index.d.ts"));
if (!bundled) await bundle();
if (types && !declared) declarations();
mkdirSync(join(root, "node_modules/.cache/pyro"), { recursive: true });
replace(stampPath, JSON.stringify({ bundle: now, types: types || declared ? now : stamp.types }));
