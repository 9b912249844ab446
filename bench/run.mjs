// Bundles the benchmark with what it measures, and runs it.
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const outfile = join(root, "bench/results/bench.mjs");
await build({
  absWorkingDir: root,
  entryPoints: ["bench/main.ts"],
  outfile,
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  banner: { js: 'import { createRequire as r } from "node:module";const require = r(import.meta.url);' },
  logLevel: "warning",
});
await import(pathToFileURL(outfile).href);
