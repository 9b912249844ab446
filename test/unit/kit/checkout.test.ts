import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findCheckout } from "../../../src/kit/index.js";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "pyro-checkout-"));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function repository(path: string, head: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await writeFile(join(path, "HEAD"), head);
}

test("the checkout around a directory is found, with its branch", async () => {
  await repository(join(root, ".git"), "ref: refs/heads/feature/x\n");
  await mkdir(join(root, "a/b"), { recursive: true });
  expect(findCheckout(join(root, "a/b"))).toEqual({ root, branch: "feature/x" });
});

test("a HEAD that is a commit has no branch", async () => {
  await repository(join(root, ".git"), `${"0".repeat(40)}\n`);
  expect(findCheckout(root)).toEqual({ root, branch: null });
});

test("a work tree whose .git is a file is a checkout too", async () => {
  await repository(join(root, "main/.git/worktrees/w"), "ref: refs/heads/w\n");
  await mkdir(join(root, "w"));
  await writeFile(join(root, "w/.git"), "gitdir: ../main/.git/worktrees/w\n");
  expect(findCheckout(join(root, "w"))).toEqual({ root: join(root, "w"), branch: "w" });
});

test("an empty .git makes no checkout, and the search goes on upwards", async () => {
  await repository(join(root, ".git"), "ref: refs/heads/outer\n");
  await mkdir(join(root, "inner/.git"), { recursive: true });
  expect(findCheckout(join(root, "inner"))).toEqual({ root, branch: "outer" });
  await writeFile(join(root, "broken"), "");
});
