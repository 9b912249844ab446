// Bundles the command, the SDK and the integrations (package.json's exports) into dist/ (ESM, split, dependencies
// included), and the declarations likewise: what is installed depends on no other package. Frameworks that integrations
// are for (package.json's peers) stay outside. Nothing is done when no source changed. `--no-types` leaves the declarations
// out, `--force` builds anyway.
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
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { declarations } from "./build/declarations.mjs";
import { codeEntries, outside } from "./build/entries.mjs";
import { packagesOf, readBuildRecord, writeBuildRecord } from "./build/record.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
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
  for (const path of ["src", "package.json", "tsconfig.build.json", "scripts/build.mjs", "scripts/build"])
    visit(join(root, path));
  const lock = join(root, "node_modules/.package-lock.json");
  if (existsSync(lock)) visit(lock);
  return hash.digest("hex");
}

/** What both bundles have in common. */
function bundleOptions() {
  return {
    absWorkingDir: root,
    outdir: "dist",
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    write: false,
    metafile: true,
    legalComments: "none",
    // Its main file asks for its parts by a `require` that is an argument: nobody can bundle that.
    alias: { "jsonc-parser": "jsonc-parser/lib/esm/main.js" },
    // Bundled CommonJS (commander) asks for Node's own modules by require.
    banner: {
      js: 'import { createRequire as pyroCreateRequire } from "node:module";const require = pyroCreateRequire(import.meta.url);',
    },
    logLevel: "warning",
  };
}

/**
 * The MCP SDK stands alone, with a copy of its own of what it shares with us: it uses so much of zod that every command
 * would otherwise load three times as much before it starts.
 */
const mcpSdk = {
  name: "mcp-sdk",
  setup: ({ onResolve }) => {
    onResolve({ filter: /^@modelcontextprotocol\/server/ }, () => ({ path: "./mcp-sdk.js", external: true }));
  },
};

/** What of the MCP SDK no tool of ours uses and every start would pay for: Ajv (295 kB) and zod's translations. */
const leaner = {
  name: "leaner",
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^@modelcontextprotocol\/server\/_shims$/ }, () => ({
      path: "shims",
      namespace: "leaner",
    }));
    onLoad({ filter: /.*/, namespace: "leaner" }, () => ({
      contents:
        'export { CfWorkerJsonSchemaValidator as DefaultJsonSchemaValidator } from "@modelcontextprotocol/server/validators/cf-worker";' +
        'export { default as process } from "node:process";',
      resolveDir: root,
    }));
    onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, () => ({
      contents: 'export { default as en } from "./en.js";',
    }));
  },
};

async function bundle() {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const sdk = await build({
    ...bundleOptions(),
    stdin: {
      contents:
        'export * from "@modelcontextprotocol/server"; export * from "@modelcontextprotocol/server/stdio";',
      resolveDir: root,
      sourcefile: "mcp-sdk.js",
    },
    outdir: undefined,
    outfile: "dist/mcp-sdk.js",
    plugins: [leaner],
  });
  const result = await build({
    ...bundleOptions(),
    entryPoints: {
      main: "src/main.ts",
      ...Object.fromEntries(codeEntries().map((name) => [name, `src/${name}.ts`])),
    },
    external: outside().flatMap((name) => [name, `${name}/*`]),
    splitting: true,
    chunkNames: "chunk-[hash]",
    define: { PYRO_VERSION: JSON.stringify(version) },
    plugins: [mcpSdk],
  });
  const hash = createHash("sha256");
  const outputs = [...sdk.outputFiles, ...result.outputFiles].sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const file of outputs) hash.update(`${relative(dist, file.path)}\0`).update(file.contents);
  // The entries last, each file whole: a command started meanwhile sees the old build or the new one.
  const entries = new Set(["main", ...codeEntries()].map((name) => join(dist, `${name}.js`)));
  const isEntry = ({ path }) => entries.has(path);
  for (const file of outputs.filter((file) => !isEntry(file))) replace(file.path, file.contents);
  for (const file of outputs.filter(isEntry)) replace(file.path, file.contents);
  replace(join(dist, "build-id"), `${hash.digest("hex").slice(0, 16)}\n`);
  const old = removeOld(new Set(outputs.map((file) => file.path)));
  // What is kept for who runs it now is not for who installs the package.
  replace(join(dist, ".npmignore"), old.map((name) => `/${name}\n`).join(""));
  return packagesOf([sdk, result].flatMap(({ metafile }) => Object.keys(metafile.inputs)));
}

function replace(path, content) {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, content);
  renameSync(temporary, path);
}

/** Removes what earlier builds left, and returns the names of what is too young for that. */
function removeOld(current) {
  const built = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith(".js"));
  const old = built.filter((name) => !current.has(join(dist, name)));
  const gone = old.filter((name) => Date.now() - statSync(join(dist, name)).mtimeMs > KEEP_OLD_CHUNKS_MS);
  for (const name of gone) rmSync(join(dist, name));
  // Where the declarations lay before they were bundled.
  rmSync(join(dist, "types"), { recursive: true, force: true });
  return old.filter((name) => !gone.includes(name));
}

const now = fingerprint();
const record = process.argv.includes("--force") ? {} : readBuildRecord();
const types = !process.argv.includes("--no-types");
let { code, declared } = record;
if (code?.of !== now || !existsSync(join(dist, "main.js"))) code = { of: now, packages: await bundle() };
if (types && (declared?.of !== now || !existsSync(join(dist, "index.d.ts"))))
  declared = { of: now, packages: packagesOf(await declarations(codeEntries(), dist)) };
writeBuildRecord({ code, declared });
