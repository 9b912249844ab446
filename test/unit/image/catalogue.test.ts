import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadCatalogue, requireOwnName } from "../../../src/image/index.js";
import { knownName } from "../../../src/image/names.js";

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
    const packages = (name: string): readonly string[] => catalogue.environments.get(name)?.packages ?? [];
    expect(packages("debian:12")).toEqual(expect.arrayContaining(["?essential", "bash", "git", "python3"]));
    expect(packages("debian:12-build")).toEqual(expect.arrayContaining(["build-essential", "git", "bash"]));
    expect(packages("debian:12-base")).not.toContain("git");
  });

  const digestOf = async (name: string): Promise<string | undefined> =>
    (await loadCatalogue(directory)).environments.get(name)?.digest;

  it("gives each recipe a digest that moves with its packages and scripts", async () => {
    const before = await digestOf("debian:12-base");
    expect(await digestOf("debian:12-base")).toBe(before);
    await writeFile(join(directory, "finish.sh"), "#!/bin/sh\n");
    expect(await digestOf("debian:12-base")).not.toBe(before);
  });

  it("answers what can be no name with the known ones", async () => {
    const catalogue = await loadCatalogue(shipped);
    expect(() => knownName(catalogue, "debian:99=x")).toThrow(
      expect.objectContaining({
        code: "UNKNOWN_ENVIRONMENT",
        hint: expect.stringContaining(
          "choose one of debian:12, debian:12-base, debian:12-build (`pyro env list`)",
        ) as string,
      }),
    );
    expect(() => knownName(catalogue, "__proto__")).toThrow(/no environment/);
  });

  it("keeps an image under its one spelling, and what is curated under its own", async () => {
    const catalogue = await loadCatalogue(shipped);
    expect(knownName(catalogue, "debian:12").recipe).toBeDefined();
    for (const [text, name] of [
      ["python", "docker.io/library/python:latest"],
      ["debian:13", "docker.io/library/debian:13"],
      ["docker.io/library/debian:12", "docker.io/library/debian:12"],
      ["localhost:5000/x", "localhost:5000/x:latest"],
    ] as const) {
      expect(knownName(catalogue, text)).toEqual({ name });
    }
  });

  it("lets an environment of this host be called what an image could be called, and nothing of pyro's own", async () => {
    const catalogue = await loadCatalogue(shipped);
    for (const name of ["tools", "my-tools:1", "a.b_c:V1.0"]) requireOwnName(catalogue, name);
    for (const name of ["debian:12", "", "Tools", "a/b", "-x", "a:", "a b", "..", "x".repeat(300)]) {
      expect(() => requireOwnName(catalogue, name)).toThrow(
        expect.objectContaining({ code: "INVALID_ARGUMENT" }),
      );
    }
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
