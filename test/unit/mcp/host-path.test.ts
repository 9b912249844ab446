import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hostRoots } from "../../../src/mcp/host-roots.js";
import { projectSource } from "../../../src/mcp/project-source.js";

let at: string;
let project: string;
beforeEach(async () => {
  at = await realpath(await mkdtemp(join(tmpdir(), "pyro-roots-")));
  project = join(at, "project");
  await mkdir(join(project, ".git"), { recursive: true });
  await writeFile(join(project, ".git/HEAD"), "ref: refs/heads/trunk\n");
  await mkdir(join(project, "src"));
  await mkdir(join(at, "outside"));
  await symlink(join(at, "outside"), join(project, "out"));
  await symlink("src", join(project, "in"));
  await symlink(join(at, "outside/new"), join(project, "dangling"));
  await symlink("loop", join(project, "loop"));
});
afterEach(() => rm(at, { recursive: true, force: true }));

const rootsOf = (given: readonly string[] = []) =>
  hostRoots(given, projectSource({}, join(project, "src")), join(project, "src"));

describe("host paths of tools", () => {
  test.each([
    ["the project itself", ".", ""],
    ["what is in it", "src", "/src"],
    ["what does not exist yet", "dist/a/b", "/dist/a/b"],
    ["a link that stays inside", "in/x", "/src/x"],
    ["dots that stay inside", "src/../dist", "/dist"],
  ])("%s is allowed, relative to the project", async (_, path, found) => {
    expect(await rootsOf().resolve(path)).toBe(`${project}${found}`);
    expect(await rootsOf().resolve(join(project, path))).toBe(`${project}${found}`);
  });

  test.each([
    ["the root of the host", "/"],
    ["the parent", ".."],
    ["a directory whose name begins alike", "../project-2"],
    ["a link that leads outside", "out/x"],
    ["a link to what does not exist yet, outside", "dangling"],
    ["below such a link", "dangling/x"],
    ["a link to itself", "loop/x"],
    ["a path through a file", ".git/HEAD/x"],
  ])("%s is refused with the flag to add", async (_, path) => {
    await expect(rootsOf().resolve(path)).rejects.toMatchObject({
      code: "HOST_PATH_NOT_ALLOWED",
      hint: expect.stringContaining(`--host-root ${project} --host-root `) as string,
    });
  });

  test("a NUL byte is refused", async () => {
    await expect(rootsOf().resolve("a\0b")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("given roots stand instead of the project", async () => {
    const roots = rootsOf([join(at, "outside")]);
    expect(await roots.resolve(join(at, "outside/x"))).toBe(join(at, "outside/x"));
    expect(await roots.resolve("out/x")).toBe(join(at, "outside/x"));
    await expect(roots.resolve("src")).rejects.toMatchObject({ code: "HOST_PATH_NOT_ALLOWED" });
  });

  test.each(["/", homedir(), `${homedir()}/`, "missing", "src/../../../../../../.."])(
    "%j is no root",
    (path) => {
      expect(() => rootsOf([path])).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }) as Error);
    },
  );

  test("a working directory that is / opens nothing", async () => {
    const roots = hostRoots([], projectSource({ noProjectSource: true }, "/"), "/");
    await expect(roots.resolve("/tmp")).rejects.toMatchObject({
      code: "HOST_PATH_NOT_ALLOWED",
      hint: expect.stringContaining("no path of the host is allowed") as string,
    });
  });
});

describe("the project of a server", () => {
  test("is the checkout around the working directory", () => {
    const { source, says, line } = projectSource({ seedInclude: ["node_modules"] }, join(project, "src"));
    expect(source).toEqual({ kind: "project", path: project, include: ["node_modules"] });
    expect(says).toBe(`the project ${project} (tracked and unignored files, with node_modules)`);
    expect(line).toBe(`project source: ${project} (Git checkout, branch trunk, with node_modules)`);
  });

  test("is the checkout that is named", () => {
    expect(projectSource({ projectPath: project }, "/").source).toMatchObject({ path: project });
  });

  test("is a repository elsewhere, its password not shown", () => {
    const given = { repoUrl: "https://me:secret@example.org/x.git", repoRef: "v1" };
    const { source, says, line } = projectSource(given, project);
    expect(source).toEqual({ kind: "repository", url: given.repoUrl, ref: "v1" });
    expect(says).toBe("the repository https://example.org/x.git at v1");
    expect(line).not.toContain("secret");
  });

  test.each([
    ["asked for", { noProjectSource: true }, () => project],
    ["no checkout is around", {}, () => join(at, "outside")],
  ])("is nothing where that is so: %s", (_, options, directory) => {
    const { source, says } = projectSource(options, directory());
    expect(source).toBeUndefined();
    expect(says).toBe("nothing, the workspace is empty");
  });

  test.each([
    [{ projectPath: "a", repoUrl: "b" }, "INVALID_ARGUMENT"],
    [{ projectPath: "a", noProjectSource: true }, "INVALID_ARGUMENT"],
    [{ repoRef: "v1" }, "INVALID_ARGUMENT"],
    [{ repoUrl: "b", seedInclude: ["x"] }, "INVALID_ARGUMENT"],
    [{ projectPath: "../outside" }, "PROJECT_NOT_FOUND"],
  ])("%j is refused with %s", (options, code) => {
    expect(() => projectSource(options, project)).toThrow(expect.objectContaining({ code }) as Error);
  });
});
