import { build } from "esbuild";

/**
 * The source of a program that pushes an environment in a process of its own, to be killed. Arguments: the catalogue, the
 * cache directory, a tar that is packed in the image's place, the environment's name, the reference.
 */
export async function environmentPushProgram(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [new URL("./environment-push-main.ts", import.meta.url).pathname],
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
