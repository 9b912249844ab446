import { execFileSync } from "node:child_process";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const scratch = join(root, "node_modules/.cache/pyro/declarations");

/**
 * One file of declarations for each entry, with what it needs of other packages within: whoever imports pyro needs none
 * of them then. Types are checked by `npm run check:types`, not here.
 * @param {Record<string, string>} entries name in `out`, and the file that tsc makes of the entry's source
 * @param {string} out the directory they are put into
 * @returns {Promise<string[]>} the files that they were made of
 */
export async function declarations(entries, out) {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  rmSync(scratch, { recursive: true, force: true });
  const options = ["-p", "tsconfig.build.json", "--outDir", scratch, "--noCheck", "--stripInternal"];
  execFileSync(process.execPath, [tsc, ...options], { cwd: root, stdio: "inherit" });
  const bundle = await rollup({
    input: Object.fromEntries(Object.entries(entries).map(([name, file]) => [name, join(scratch, file)])),
    plugins: [dts({ respectExternal: true })],
    external: [/^node:/],
    onwarn: ({ message }) => {
      throw new Error(message);
    },
  });
  const { output } = await bundle.generate({ format: "es", chunkFileNames: "types-[hash].js" });
  for (const { fileName, code } of output) {
    const temporary = join(out, `${fileName}.${process.pid}.tmp`);
    writeFileSync(temporary, code);
    renameSync(temporary, join(out, fileName));
  }
  await bundle.close();
  rmSync(scratch, { recursive: true, force: true });
  return bundle.watchFiles;
}
