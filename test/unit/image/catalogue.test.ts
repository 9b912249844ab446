import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadCatalogue, recipeOf } from "../../../src/image/index.js";

const shipped = new URL("../../../environments/", import.meta.url).pathname;

describe("the catalogue", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-catalogue-"));
    await cp(shipped, directory, { recursive: true });
  });
  afterEach(() => rm(directory, { recursive: true }));

  const change = async (file: string, fields: Record<string, unknown>): Promise<void> => {
    const path = join(directory, file);
    const old = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
    await writeFile(path, JSON.stringify({ ...old, ...fields }));
  };

  it("holds the three curated environments, each with all that it includes", async () => {
    const catalogue = await loadCatalogue(shipped);
    expect([...catalogue.environments.keys()]).toEqual(["debian:12", "debian:12-base", "debian:12-build"]);
    const packages = (name: string): readonly string[] => recipeOf(catalogue, name).packages;
    expect(packages("debian:12")).toEqual(expect.arrayContaining(["?essential", "bash", "git", "python3"]));
    expect(packages("debian:12-build")).toEqual(expect.arrayContaining(["build-essential", "git", "bash"]));
    expect(packages("debian:12-base")).not.toContain("git");
  });

  it("gives each recipe a digest that moves with its packages and scripts", async () => {
    const before = recipeOf(await loadCatalogue(directory), "debian:12-base").digest;
    expect(recipeOf(await loadCatalogue(directory), "debian:12-base").digest).toBe(before);
    await writeFile(join(directory, "finish.sh"), "#!/bin/sh\n");
    expect(recipeOf(await loadCatalogue(directory), "debian:12-base").digest).not.toBe(before);
  });

  it("answers an unknown name with the known ones", async () => {
    const catalogue = await loadCatalogue(shipped);
    expect(() => recipeOf(catalogue, "debian:99=x")).toThrow(
      expect.objectContaining({
        code: "UNKNOWN_ENVIRONMENT",
        message: 'there is no environment "debian:99=x"',
        hint: "choose one of debian:12, debian:12-base, debian:12-build (`pyro env list`)",
      }),
    );
    expect(() => recipeOf(catalogue, "__proto__")).toThrow(/no environment/);
  });

  it.each([
    ["an option for a package name", "debian-12.json", { packages: ["-o=Dir::Bin::dpkg=/bin/sh"] }],
    ["a name with an underscore", "debian-12.json", { name: "debian_12:x" }],
    ["an unknown field", "debian-12.json", { mirror: "http://m.test" }],
    ["an environment that includes itself", "debian-12.json", { includes: "debian:12" }],
    ["an include that does not exist", "debian-12.json", { includes: "debian:0" }],
    ["a suite without guest sources", "debian-12.json", { suite: "trixie" }],
  ])("refuses %s", async (_what, file, fields) => {
    await change(file, fields);
    await expect(loadCatalogue(directory)).rejects.toMatchObject({
      code: "INTERNAL",
      hint: "install pyro again",
    });
  });
});
