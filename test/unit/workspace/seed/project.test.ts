import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { describeProject, findProject, openSeed } from "../../../../src/workspace/seed/index.js";
import { Bench, drain, errorOf, git, listing, run } from "./support.js";

let bench: Bench;
let checkout: string;
beforeEach(async () => {
  bench = await Bench.create();
  checkout = bench.at("checkout");
  await mkdir(checkout);
});
afterEach(() => bench[Symbol.asyncDispose]());

async function commitAll(): Promise<void> {
  await git(checkout, "add", "-A");
  await git(checkout, "commit", "-q", "-m", "first");
}

/** A checkout with one of everything. */
async function makeCheckout(): Promise<void> {
  const library = bench.at("library");
  await mkdir(library);
  await git(library, "init", "-q", "-b", "main");
  await writeFile(join(library, "lib.c"), "int f;\n");
  await git(library, "add", "-A");
  await git(library, "commit", "-q", "-m", "library");

  await git(checkout, "init", "-q", "-b", "work/new-thing");
  await mkdir(join(checkout, "src/deep"), { recursive: true });
  await writeFile(join(checkout, "src/deep/main.ts"), "let a = 1;\n");
  await writeFile(join(checkout, "src/deleted.ts"), "gone\n");
  await writeFile(join(checkout, "src/dirty.ts"), "clean\n");
  await writeFile(join(checkout, "tool.sh"), "#!/bin/sh\n");
  await chmod(join(checkout, "tool.sh"), 0o755);
  await writeFile(Buffer.concat([Buffer.from(`${checkout}/`), Buffer.from("caf\xe9", "latin1")]), "latin1\n");
  await writeFile(join(checkout, "line\nbreak"), "odd\n");
  await symlink("src/deep", join(checkout, "link"));
  await writeFile(join(checkout, ".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n");
  await writeFile(
    join(checkout, "model.bin"),
    "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
  );
  await writeFile(join(checkout, ".gitignore"), "node_modules/\n*.log\n");
  await git(checkout, "submodule", "--quiet", "add", library, "vendor/library");
  await git(checkout, "submodule", "--quiet", "add", library, "vendor/absent");
  await commitAll();
  await git(checkout, "submodule", "--quiet", "deinit", "-f", "vendor/absent");

  await rm(join(checkout, "src/deleted.ts"));
  await writeFile(join(checkout, "src/dirty.ts"), "dirty now\n");
  await chmod(join(checkout, "src/deep/main.ts"), 0o755);
  await mkdir(join(checkout, "new/empty"), { recursive: true });
  await writeFile(join(checkout, "new/untracked.ts"), "untracked\n");
  await writeFile(join(checkout, "debug.log"), "ignored\n");
  await mkdir(join(checkout, "node_modules/dep/.bin"), { recursive: true });
  await writeFile(join(checkout, "node_modules/dep/index.js"), "module\n");
  await writeFile(join(checkout, "vendor/library/build.c"), "untracked there\n");
}

describe("a seed of a checkout", () => {
  it("is its tracked and unignored files, as a repository of one commit in which git sees the same changes", async () => {
    await makeCheckout();
    const before = await listing(checkout);
    const id = (await git(checkout, "rev-parse", "HEAD")).trim();
    const { directory, seed, warnings } = await bench.unpack({ kind: "project", path: checkout });
    expect(warnings).toEqual([]);
    expect(seed.origin).toEqual({
      mode: "directory",
      seedPath: checkout,
      originKind: "project",
      originRef: id,
    });
    expect(await listing(checkout)).toBe(before);

    const files = await run("find", [".", "-not", "-path", "./.git*", "-not", "-type", "d"], directory);
    expect(files.split("\n").sort()).toEqual([
      "",
      "./caf\ufffd",
      "./line",
      "./link",
      "./model.bin",
      "./new/untracked.ts",
      "./src/deep/main.ts",
      "./src/dirty.ts",
      "./tool.sh",
      "./vendor/library/build.c",
      "./vendor/library/lib.c",
      "break",
    ]);
    expect((await stat(join(directory, "vendor/absent"))).isDirectory()).toBe(true);
    expect((await stat(join(directory, "tool.sh"))).mode & 0o777).toBe(0o755);

    const status = ["status", "--porcelain", "--untracked-files=all", "--ignore-submodules=dirty"];
    expect(await git(directory, ...status)).toBe(await git(checkout, ...status));
    expect(await git(directory, "diff", "--", "src")).toBe(await git(checkout, "diff", "--", "src"));
    expect(await git(directory, "rev-parse", "HEAD^{tree}")).toBe(
      await git(checkout, "rev-parse", "HEAD^{tree}"),
    );
    await git(directory, "fsck", "--strict", "--no-dangling");
    expect(await git(directory, "log", "--all", "--format=%an <%ae> %cn <%ce>%n%B")).toContain(id);
    expect(await git(directory, "log", "--all", "--format=%an <%ae> %cn <%ce>")).toBe(
      "pyro <pyro@localhost> pyro <pyro@localhost>\n",
    );
    expect((await git(directory, "symbolic-ref", "HEAD")).trim()).toBe("refs/heads/work/new-thing");
  });

  it("brings no remotes, hooks, configuration, credentials, history or path of the host", async () => {
    await makeCheckout();
    await git(checkout, "remote", "add", "origin", "https://user:hunter2@example.org/x.git");
    await writeFile(join(checkout, ".git/hooks/post-checkout"), "#!/bin/sh\n", { mode: 0o755 });
    await git(checkout, "config", "core.untrackedCache", "true");
    await git(checkout, "status");
    const { directory } = await bench.unpack({ kind: "project", path: checkout });
    expect((await readdir(join(directory, ".git"))).sort()).toEqual([
      "HEAD",
      "config",
      "index",
      "objects",
      "refs",
    ]);
    expect(await readFile(join(directory, ".git/config"), "utf8")).toMatchInlineSnapshot(`
      "[core]
      	repositoryformatversion = 0
      	filemode = true
      	bare = false
      	logallrefupdates = true
      	checkStat = minimal
      "
    `);
    const found = await run(
      "sh",
      ["-c", `grep -rlaE 'hunter2|${bench.path}|example.org' .git || true`],
      directory,
    );
    expect(found).toBe("");
    expect((await git(directory, "rev-list", "--all", "--count")).trim()).toBe("1");
    expect(await git(directory, "remote")).toBe("");
  });

  it("lets git know the unchanged files without reading them", async () => {
    await makeCheckout();
    await run("sh", ["-c", "find . -not -path './.git*' -exec touch -h -d 2020-01-01 {} +"], checkout);
    await git(checkout, "status");
    const { directory } = await bench.unpack({ kind: "project", path: checkout });
    // Same size, same time, other content: who reads it sees a change.
    await writeFile(join(directory, "tool.sh"), "#!/bin/zz\n");
    await run("touch", ["-d", "2020-01-01", "tool.sh"], directory);
    expect(await git(directory, "status", "--porcelain", "tool.sh")).toBe("");
    await writeFile(join(directory, "tool.sh"), "#!/bin/yy\n");
    expect(await git(directory, "status", "--porcelain", "tool.sh")).toBe(" M tool.sh\n");
  });

  it("takes included paths whole, whatever is ignored in them", async () => {
    await makeCheckout();
    const { directory } = await bench.unpack({
      kind: "project",
      path: join(checkout, "src/deep"),
      include: ["node_modules/", `${checkout}/debug.log`, "node_modules/dep"],
    });
    expect(await readFile(join(directory, "node_modules/dep/index.js"), "utf8")).toBe("module\n");
    expect((await stat(join(directory, "node_modules/dep/.bin"))).isDirectory()).toBe(true);
    expect(await readFile(join(directory, "debug.log"), "utf8")).toBe("ignored\n");

    for (const include of ["missing", "missing/too", "../outside", "/etc", ".git", "."]) {
      const error = await errorOf(
        drain({ kind: "project", path: checkout, include: [include] }, bench.options()),
      );
      expect(`${include} ${error.code}`).toBe(`${include} SEED_NOT_FOUND`);
      expect(error.hint).toContain("--seed-include");
    }
  });

  it("never reads through a directory that has become a link", async () => {
    await makeCheckout();
    await mkdir(bench.at("private/deep"), { recursive: true });
    await writeFile(bench.at("private/deep/main.ts"), "KEY");
    await rm(join(checkout, "src"), { recursive: true });
    await symlink(bench.at("private"), join(checkout, "src"));
    const { directory } = await bench.unpack({ kind: "project", path: checkout });
    expect((await readdir(directory)).includes("src")).toBe(true);
    const status = ["status", "--porcelain", "--", "src"];
    expect(await git(directory, ...status)).toBe(await git(checkout, ...status));
    expect((await drain({ kind: "project", path: checkout }, bench.options())).includes("KEY")).toBe(false);
  });

  it.each(["sha1", "sha256"])("is a repository without commits where there are none (%s)", async (format) => {
    await git(checkout, "init", "-q", "-b", "start", `--object-format=${format}`);
    await writeFile(join(checkout, "file"), "x");
    const { directory, seed } = await bench.unpack({ kind: "project", path: checkout });
    expect(seed.origin.originRef).toBeNull();
    expect(await git(directory, "status", "--porcelain", "--branch")).toBe(
      "## No commits yet on start\n?? file\n",
    );
    await commitAll();
    await writeFile(join(checkout, "file"), "y");
    const { directory: second } = await bench.unpack({ kind: "project", path: checkout }, "second");
    expect(await git(second, "status", "--porcelain")).toBe(" M file\n");
    expect((await git(second, "rev-parse", "--show-object-format")).trim()).toBe(format);
  });

  it("takes a detached head, a work tree of its own, a shallow clone and a sparse checkout as they are", async () => {
    await makeCheckout();
    await git(checkout, "stash", "-q");
    const heads: [string, string[]][] = [
      ["worktree", ["worktree", "add", "-q", "--detach", bench.at("worktree")]],
      ["shallow", ["clone", "-q", "--depth", "1", `file://${checkout}`, bench.at("shallow")]],
      ["sparse", ["clone", "-q", "--sparse", checkout, bench.at("sparse")]],
    ];
    for (const [name, args] of heads) {
      await git(checkout, ...args);
      const { directory } = await bench.unpack({ kind: "project", path: bench.at(name) }, `${name}-out`);
      const status = ["status", "--porcelain"];
      expect(`${name} ${await git(directory, ...status)}`).toBe(
        `${name} ${await git(bench.at(name), ...status)}`,
      );
    }
    expect((await readFile(bench.at("worktree-out/.git/HEAD"), "utf8")).length).toBe(41);
    expect(await readdir(bench.at("sparse-out"))).not.toContain("src");
  });

  it("works where the index is split", async () => {
    await makeCheckout();
    await git(checkout, "update-index", "--split-index");
    const status = ["status", "--porcelain", "--untracked-files=all", "--ignore-submodules=dirty"];
    const { directory } = await bench.unpack({ kind: "project", path: checkout });
    expect(await git(directory, ...status)).toBe(await git(checkout, ...status));
  });

  it("works where the index is in conflict, and where there is none", async () => {
    await makeCheckout();
    await git(checkout, "stash", "-q");
    await git(checkout, "checkout", "-q", "-b", "other");
    await writeFile(join(checkout, "tool.sh"), "other\n");
    await git(checkout, "commit", "-qam", "other");
    await git(checkout, "checkout", "-q", "-");
    await writeFile(join(checkout, "tool.sh"), "ours\n");
    await git(checkout, "commit", "-qam", "ours");
    await git(checkout, "merge", "-q", "other").catch(() => undefined);
    const { directory } = await bench.unpack({ kind: "project", path: checkout });
    expect(await git(directory, "status", "--porcelain")).toBe(" M tool.sh\n?? new/\n");
    expect((await describeProject(checkout)).dirty.conflicted).toBe(1);

    await rm(join(checkout, ".git/index"));
    const { directory: second } = await bench.unpack({ kind: "project", path: checkout }, "second");
    expect(await git(second, "status", "--porcelain", "tool.sh")).toBe(" M tool.sh\n");
  });

  it("takes a repository that lies inside without being a submodule for plain files", async () => {
    await makeCheckout();
    await run("cp", ["-r", bench.at("library"), join(checkout, "nested")], bench.path);
    const { directory } = await bench.unpack({ kind: "project", path: checkout });
    expect(await readdir(join(directory, "nested"))).toEqual(["lib.c"]);
  });

  it("refuses what is no checkout, a bare repository and a .git directory, each with the way out", async () => {
    const plain = await errorOf(openSeed({ kind: "project", path: checkout }, bench.options()));
    expect(plain.code).toBe("PROJECT_NOT_FOUND");
    expect(plain.hint).toContain(`--seed-path ${checkout}`);
    const missing = await errorOf(openSeed({ kind: "project", path: bench.at("missing") }, bench.options()));
    expect(missing.code).toBe("PROJECT_NOT_FOUND");
    await git(bench.path, "init", "-q", "--bare", "bare");
    const bare = await errorOf(openSeed({ kind: "project", path: bench.at("bare") }, bench.options()));
    expect(bare.code).toBe("PROJECT_UNREADABLE");
    expect(bare.hint).toContain("--repo-url");
    await git(checkout, "init", "-q");
    const inside = await errorOf(
      openSeed({ kind: "project", path: join(checkout, ".git") }, bench.options()),
    );
    expect(inside.message).toContain(".git directory");
  });

  it.runIf(process.getuid?.() === 0)("names the setting that a checkout of another user needs", async () => {
    await makeCheckout();
    await run("chown", ["-R", "12345:12345", checkout], bench.path);
    const error = await errorOf(openSeed({ kind: "project", path: checkout }, bench.options()));
    expect(error.code).toBe("PROJECT_UNREADABLE");
    expect(error.hint).toContain("safe.directory");
    await expect(findProject(checkout)).rejects.toThrow("another user");
  });

  it("says that a checkout lacks objects", async () => {
    await makeCheckout();
    const blob = (await git(checkout, "rev-parse", "HEAD:tool.sh")).trim();
    await rm(join(checkout, ".git/objects", blob.slice(0, 2), blob.slice(2)));
    const error = await errorOf(openSeed({ kind: "project", path: checkout }, bench.options()));
    expect(error.code).toBe("PROJECT_UNREADABLE");
    expect(error.message).toContain("lacks objects");
  });

  it("takes a partial clone for what it has, and says so", async () => {
    await makeCheckout();
    await git(checkout, "stash", "-q");
    await git(checkout, "config", "uploadpack.allowFilter", "true");
    const partial = bench.at("partial");
    await git(checkout, "clone", "-q", "--filter=blob:none", "--sparse", `file://${checkout}`, partial);
    const { directory, warnings } = await bench.unpack({ kind: "project", path: partial });
    expect(warnings).toEqual([
      "the checkout is a partial clone: what it has not fetched of its HEAD is missing in the seed's .git",
    ]);
    expect(await git(directory, "status", "--porcelain")).toBe("");
  });

  it("ends with an error when somebody commits meanwhile", async () => {
    await makeCheckout();
    await using seed = await openSeed({ kind: "project", path: checkout }, bench.options());
    await commitAll();
    const error = await errorOf(
      (async () => {
        for await (const _ of seed.stream());
      })(),
    );
    expect(error.code).toBe("SEED_CHANGED");
  });
});

describe("finding and describing a project", () => {
  it("finds the checkout around a directory, and none where there is none", async () => {
    expect(await findProject(checkout)).toBeUndefined();
    await mkdir(join(checkout, ".git"));
    expect(await findProject(checkout)).toBeUndefined();
    await makeCheckout();
    expect(await findProject(join(checkout, "src/deep"))).toBe(checkout);
  });

  it("counts what is tracked, untracked and changed", async () => {
    await makeCheckout();
    await writeFile(join(checkout, "staged.ts"), "x");
    await git(checkout, "add", "staged.ts");
    const id = (await git(checkout, "rev-parse", "HEAD")).trim();
    expect(await describeProject(join(checkout, "src"))).toEqual({
      root: checkout,
      head: { id, branch: "work/new-thing" },
      trackedCount: 14,
      untrackedCount: 1,
      dirty: { modified: 2, added: 1, deleted: 1, conflicted: 0 },
    });
  });
});
