import { execFileSync, spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { diffFiles } from "../../../../src/workspace/diff/index.js";
import { applyPatch } from "../../../../src/workspace/patch/index.js";
import { MemoryTree } from "../patch/memory-tree.js";
import { changesBetween, contentsOf, patchOf, randomTrees, type Files } from "./random-trees.js";

const FIRST_SEED = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
const git = spawnSync("git", ["--version"]).status === 0;

async function diffOf(before: Files, after: Files): Promise<Uint8Array> {
  return patchOf(diffFiles(changesBetween(before, after), contentsOf(before, after)));
}

const treeOf = (files: Files): MemoryTree => new MemoryTree(Object.fromEntries(files));

it("applies what it makes: apply(diff(a, b), a) is b", async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 150; seed++) {
    const { before, after } = randomTrees(seed);
    const patch = await diffOf(before, after);
    const tree = treeOf(before);
    if (patch.length > 0) tree.commit((await explained(applyPatch(patch, tree), seed, patch)).changes);
    expect(tree.snapshot(), `SEED=${seed}`).toEqual(treeOf(after).snapshot());
  }
});

it("gives the same bytes each time", async () => {
  const { before, after } = randomTrees(FIRST_SEED);
  const changes = changesBetween(before, after);
  const again = await patchOf(diffFiles(changes.toReversed(), contentsOf(before, after)));
  expect(Buffer.from(again).equals(await diffOf(before, after)), `SEED=${FIRST_SEED}`).toBe(true);
});

it.skipIf(!git)("makes patches that git apply takes, with the same outcome", async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 12; seed++) {
    const { before, after } = randomTrees(seed);
    const patch = await diffOf(before, after);
    if (patch.length === 0) continue;
    const directory = await mkdtemp(join(tmpdir(), "round-trip-"));
    try {
      await write(directory, before);
      execFileSync("git", ["apply", "--whitespace=nowarn", "-"], {
        cwd: directory,
        input: patch,
        env: QUIET,
      });
      expect(await read(directory), `SEED=${seed}`).toEqual(treeOf(after).snapshot());
    } finally {
      await rm(directory, { recursive: true });
    }
  }
});

it.skipIf(!git)("git apply passes over the lines that a text patch cannot carry, and so do we", async () => {
  const before: Files = new Map([
    ["a.txt", { content: "1\n", mode: 0o644 }],
    ["b.bin", { content: "\0", mode: 0o644 }],
    ["c.txt", { content: "# x\n1", mode: 0o644 }],
  ]);
  const after: Files = new Map([
    ["a.txt", { content: "2\n", mode: 0o644 }],
    ["b.bin", { content: "\0\0", mode: 0o755 }],
    ["c.txt", { content: "# x\n2", mode: 0o644 }],
  ]);
  const patch = await diffOf(before, after);
  const expected = new Map([...after, ["b.bin", { content: "\0", mode: 0o755 }]] as const);
  const tree = treeOf(before);
  tree.commit((await applyPatch(patch, tree)).changes);
  expect(tree.snapshot()).toEqual(treeOf(expected).snapshot());
  const directory = await mkdtemp(join(tmpdir(), "round-trip-"));
  try {
    await write(directory, before);
    execFileSync("git", ["apply", "-"], { cwd: directory, input: patch, env: QUIET });
    expect(await read(directory)).toEqual(tree.snapshot());
  } finally {
    await rm(directory, { recursive: true });
  }
});

it.skipIf(!git)("applies what git diff makes of the same trees", async () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + 12; seed++) {
    const { before, after } = randomTrees(seed);
    const directory = await mkdtemp(join(tmpdir(), "round-trip-"));
    try {
      const run = (...argv: string[]): Buffer =>
        execFileSync("git", argv, { cwd: directory, env: QUIET, stdio: ["ignore", "pipe", "ignore"] });
      run("init", "-q");
      run("config", "core.autocrlf", "false");
      await write(directory, before);
      run("add", "-A");
      run("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t", "--allow-empty");
      await clear(directory);
      await write(directory, after);
      run("add", "-A");
      for (const options of [
        ["-M"],
        ["--no-renames", "-U1"],
        ["--no-prefix", "--no-renames"],
        ["-M50%", "--patience"],
      ]) {
        const patch = run("diff", "--cached", "--text", ...options);
        const tree = treeOf(before);
        if (patch.length > 0) tree.commit((await explained(applyPatch(patch, tree), seed, patch)).changes);
        expect(tree.snapshot(), `SEED=${seed} ${options.join(" ")}`).toEqual(treeOf(after).snapshot());
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  }
});

const QUIET = {
  ...process.env,
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_SYSTEM: "/dev/null",
  LC_ALL: "C",
  GIT_CEILING_DIRECTORIES: tmpdir(),
};

async function explained<T>(plan: Promise<T>, seed: number, patch: Uint8Array): Promise<T> {
  return plan.catch((error: unknown) => {
    throw new Error(`SEED=${seed}: ${String(error)}\n${Buffer.from(patch).toString("latin1")}`, {
      cause: error,
    });
  });
}

const bytePath = (directory: string, path: string): Buffer =>
  Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(path, "latin1")]);

async function write(directory: string, files: Files): Promise<void> {
  for (const [path, file] of files) {
    const at = bytePath(directory, path);
    await mkdir(Buffer.from(dirname(at.toString("latin1")), "latin1"), { recursive: true });
    await writeFile(at, Buffer.from(file.content, "latin1"));
    await chmod(at, file.mode);
  }
}

async function clear(directory: string): Promise<void> {
  for (const name of await readdir(directory, { encoding: "buffer" })) {
    if (name.toString() !== ".git")
      await rm(bytePath(directory, name.toString("latin1")), { recursive: true });
  }
}

async function read(directory: string): Promise<Record<string, string>> {
  const tree = new MemoryTree({});
  const visit = async (below: string): Promise<void> => {
    for (const name of await readdir(bytePath(directory, below), { encoding: "buffer" })) {
      const path = below === "" ? name.toString("latin1") : `${below}/${name.toString("latin1")}`;
      const at = bytePath(directory, path);
      const found = await stat(at);
      if (found.isDirectory()) await visit(path);
      else
        tree.files.set(path, { content: (await readFile(at)).toString("latin1"), mode: found.mode & 0o777 });
    }
  };
  await visit("");
  return tree.snapshot();
}
