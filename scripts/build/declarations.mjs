import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";
import { outside } from "./entries.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const scratch = join(root, "node_modules/.cache/pyro/declarations");

/**
 * One file of declarations for each entry, and files of what they share, with what they need of other packages within:
 * whoever imports pyro needs none of them then but the framework that an integration is for. Types are checked by
 * `npm run check:types`, not here.
 * @param {string[]} entries their paths below src/ and `out`, without a suffix
 * @param {string} out the directory they are put into
 * @returns {Promise<string[]>} the files that they were made of
 */
export async function declarations(entries, out) {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  rmSync(scratch, { recursive: true, force: true });
  const options = ["-p", "tsconfig.build.json", "--outDir", scratch, "--noCheck", "--stripInternal"];
  execFileSync(process.execPath, [tsc, ...options], { cwd: root, stdio: "inherit" });
  const bundle = await rollup({
    input: Object.fromEntries(entries.map((name) => [name, join(scratch, `${name}.d.ts`)])),
    plugins: [dts({ respectExternal: true })],
    external: (id) =>
      id.startsWith("node:") || outside().some((name) => id === name || id.startsWith(`${name}/`)),
    onwarn: ({ message }) => {
      // A type that entries share and none exports, such as the transport that `connect` takes: who needs a name for it has
      // it from its own package.
      if (!message.includes("private shared type exports")) throw new Error(message);
    },
  });
  const { output } = await bundle.generate({ format: "es", chunkFileNames: "types-[hash].d.ts" });
  for (const { fileName, code } of output) {
    const temporary = join(out, `${fileName}.${process.pid}.tmp`);
    mkdirSync(dirname(temporary), { recursive: true });
    writeFileSync(temporary, code);
    renameSync(temporary, join(out, fileName));
  }
  const current = new Set(output.map(({ fileName }) => fileName));
  for (const name of readdirSync(out, { recursive: true }))
    if (name.endsWith(".d.ts") && !current.has(name)) rmSync(join(out, name));
  await bundle.close();
  rmSync(scratch, { recursive: true, force: true });
  return bundle.watchFiles;
}
