import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { expect, it } from "vitest";
import { complete } from "../../../src/kit/index.js";
import { FakeRegistry } from "../../fakes/fake-registry.js";

it("An image is pulled also by a bundle that is split, as the daemon's is", async () => {
  const directory = await mkdtemp(join(tmpdir(), "pyro-bundled-"));
  await using registry = await FakeRegistry.start();
  registry.addImage("tool", "1");
  try {
    await build({
      entryPoints: [join(import.meta.dirname, "../../fakes/image-pull-main.ts")],
      outdir: join(directory, "dist"),
      ...{ bundle: true, splitting: true, platform: "node", format: "esm", target: "node20" },
      outExtension: { ".js": ".mjs" },
      banner: {
        js: 'import { createRequire as testRequire } from "node:module";const require = testRequire(import.meta.url);',
      },
    });
    expect((await readdir(join(directory, "dist"))).length).toBeGreaterThan(1);
    const args = [
      join(directory, "dist/image-pull-main.mjs"),
      join(directory, "store"),
      registry.name,
      "tool:1",
    ];
    expect(await complete(process.execPath, args)).toMatchObject({ code: 0 });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
