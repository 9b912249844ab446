import { build } from "esbuild";

/**
 * The source of a program that pulls an image in a process of its own, to be killed. Arguments: the store's directory,
 * the registry, what of it. Prints whether all was there before.
 */
export async function imagePullProgram(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [new URL("./image-pull-main.ts", import.meta.url).pathname],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    banner: {
      js: 'import { createRequire as testRequire } from "node:module";const require = testRequire(import.meta.url);',
    },
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}
