import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

interface Part {
  readonly kind: "npm" | "go" | "linux";
  readonly name: string;
  readonly version: string;
  readonly licence: string | undefined;
  readonly texts: readonly string[];
}

// Plain JavaScript, as all that builds the package.
const load = (name: string): Promise<unknown> =>
  import(new URL(`../../../scripts/${name}`, import.meta.url).href);
const { objections } = (await load("package/parts.mjs")) as {
  objections: (parts: readonly Part[]) => string[];
};
const { recognise, textsOf } = (await load("package/licences.mjs")) as {
  recognise: (texts: readonly string[]) => string | undefined;
  textsOf: (name: string, directory: string, licence: string, mitTerms: string) => string[];
};
const { packagesOf } = (await load("build/record.mjs")) as {
  packagesOf: (files: readonly string[]) => { installed: string[]; inlined: string[] };
};
const { notices } = (await load("package/notices.mjs")) as {
  notices: (parts: readonly (Part & { where: string })[]) => string;
};

const MIT =
  "MIT License\n\nCopyright (c) Someone\n\nPermission is hereby granted, free of charge, to any person";
const BSD =
  "Copyright (c) Them\n\nRedistribution and use in source and binary forms, …\n\nNeither the name of Them";
const part = (changes: Partial<Part> = {}): Part => ({
  ...{ kind: "npm", name: "thing", version: "1.2.3", licence: "MIT", texts: [MIT], ...changes },
});

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pyro-parts-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

describe("What others wrote", () => {
  it("may be in the package under the licences that are agreed to, with their texts", () => {
    expect(objections([part(), part({ licence: "Apache-2.0 AND BSD-3-Clause" })])).toEqual([]);
  });

  it.each([
    ["under another licence", { licence: "LGPL-3.0-only" }, "LGPL-3.0-only is not in the list"],
    ["also under another", { licence: "MIT AND SSPL-1.0" }, "SSPL-1.0 is not in the list"],
    ["where one has to choose", { licence: "MIT OR GPL-3.0" }, "is not in the list"],
    ["without a licence", { licence: undefined }, "no licence"],
    ["without its text", { texts: [] }, "brings no text"],
    ["as Linux is, but is not Linux", { licence: "GPL-2.0-only WITH Linux-syscall-note" }, "not in the list"],
  ])("is kept out %s", (_, changes, words) => {
    expect(objections([part(), part(changes)])).toEqual([expect.stringContaining(`thing 1.2.3: `) as string]);
    expect(objections([part(changes)])[0]).toContain(words);
  });

  it("has the licence that its texts are, and none where one of them is not known", () => {
    expect(recognise([MIT])).toBe("MIT");
    expect(recognise([`${BSD}\n\n${MIT}`, MIT])).toBe("BSD-3-Clause AND MIT");
    expect(recognise([MIT, "All rights reserved."])).toBeUndefined();
    expect(recognise([])).toBeUndefined();
  });

  it("brings its licence and notice files, and nothing where it has none and nobody is known to hold it", () => {
    writeFileSync(join(directory, "LICENCE.txt"), `${MIT}\n`);
    writeFileSync(join(directory, "NOTICE"), "Thing of Someone\n");
    writeFileSync(join(directory, "README.md"), "no licence\n");
    expect(textsOf("thing", directory, "MIT", "terms")).toEqual([MIT, "Thing of Someone"]);
    rmSync(join(directory, "LICENCE.txt"));
    rmSync(join(directory, "NOTICE"));
    expect(textsOf("thing", directory, "MIT", "terms")).toEqual([]);
    expect(textsOf("@xterm/headless", directory, "MIT", "terms")[0]).toMatch(/^Copyright [^]+\n\nterms$/);
  });

  it("is found by the files of a bundle, also where a bundler before us put it into another package's", () => {
    const within = join(directory, "node_modules/@scope/outer/dist");
    mkdirSync(within, { recursive: true });
    writeFileSync(
      join(within, "a.mjs"),
      "//#region ../node_modules/.pnpm/@other+inner@4.1.1/node_modules/@other/inner/x.js\n//#endregion\n",
    );
    const plain = join(directory, "node_modules/plain/index.js");
    mkdirSync(join(plain, ".."), { recursive: true });
    writeFileSync(plain, "");
    expect(packagesOf([join(within, "a.mjs"), plain, join(directory, "src/own.ts")])).toEqual({
      installed: ["node_modules/@scope/outer", "node_modules/plain"],
      inlined: ["@other/inner@4.1.1"],
    });
  });

  it("stands in the notices in one row each, and each text once", () => {
    const written = notices([
      { ...part(), where: "dist/" },
      { ...part({ name: "other" }), where: "dist/" },
    ]);
    expect(written).toContain("| thing | 1.2.3 | MIT | dist/ |");
    expect(written).toContain("## thing, other\n");
    expect(written.split("Permission is hereby granted")).toHaveLength(2);
  });
});
