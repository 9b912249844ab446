import { describe, expect, it } from "vitest";
import { hostExecutablePaths } from "../../../../src/workspace/diff/index.js";
import { HOST_EXECUTABLE_RULES } from "../../../../src/workspace/diff/host-executable-table.js";

const why = (path: string, content?: string, mode = 0o644): string | undefined =>
  hostExecutablePaths([{ path, mode, ...(content === undefined ? {} : { content }) }])[0]?.why;

describe("paths that would run on the host", () => {
  it.each([
    [".git/hooks/pre-commit", "git runs it as a hook"],
    ["vendor/lib/.git/hooks/post-checkout", "git runs it as a hook"],
    [".GIT/hooks/pre-commit", "git runs it as a hook"],
    [".git/config", "git configuration"],
    [".husky/_/husky.sh", "a directory of git hooks"],
    ["lefthook-local.yml", "names commands that git hooks run"],
    [".pre-commit-config.yaml", "names commands that git hooks run"],
    [".gitmodules", "names repositories"],
    [".vscode/tasks.json", "an editor task"],
    ["packages/a/.vscode/settings.json", "editor settings"],
    [".idea/runConfigurations/Test.xml", "a run configuration"],
    [".devcontainer/devcontainer.json", "a development container"],
    [".nvim.lua", "the editor reads it"],
    [".claude/settings.local.json", "agent settings: hooks"],
    [".claude/commands/x.md", "commands, plugins"],
    ["CLAUDE.md", "instructions that an agent"],
    ["docs/AGENTS.md", "instructions that an agent"],
    [".mcp.json", "agent settings"],
    [".codex/config.toml", "agent settings"],
    ["opencode.json", "agent settings"],
    [".cursor/mcp.json", "agent settings"],
    ["package.json", "package scripts"],
    [".npmrc", "package manager settings"],
    [".yarn/releases/yarn-4.cjs", "code that the package manager runs"],
    ["tests/conftest.py", "Python code"],
    ["pyproject.toml", "build backend"],
    ["Makefile", "make runs"],
    ["rules.mk", "make runs"],
    ["justfile", "a task runner"],
    ["Taskfile.yml", "a task runner"],
    ["compose.dev.yaml", "builds or starts containers"],
    ["docker-compose.yml", "builds or starts containers"],
    ["Dockerfile", "builds or starts containers"],
    [".github/workflows/ci.yml", "CI runs it"],
    [".gitlab-ci.yml", "CI runs it"],
    [".envrc", "the shell runs it"],
    [".bashrc", "a shell, debugger"],
    [".bash_profile", "a shell, debugger"],
    [".profile", "a shell, debugger"],
    [".zshenv", "a shell, debugger"],
    ["vite.config.ts", "JavaScript that"],
    [".eslintrc.cjs", "JavaScript that"],
    ["app/build.gradle.kts", "a build of the Java world"],
    ["crate/build.rs", "cargo runs it"],
  ])("marks %s", (path, reason) => {
    expect(why(path)).toContain(reason);
  });

  it.each([
    "src/main.py",
    "README.md",
    "package-lock.json",
    "makefile.md",
    "src/hooks/pre-commit",
    "git/hooks/x",
    "config.ts",
    "settings.json",
    "xMakefile",
    "tasks.json",
    "profile",
    "report.html",
  ])("does not mark %s", (path) => {
    expect(why(path)).toBeUndefined();
  });

  it("looks into contents where they are known", () => {
    expect(why("package.json", '{"name":"x","version":"1"}')).toBeUndefined();
    expect(why("package.json", '{"scripts": {"postinstall": "x"}}')).toContain("package scripts");
    expect(why(".gitattributes", "*.png binary\n")).toBeUndefined();
    expect(why(".gitattributes", "*.bin filter=lfs\n")).toContain("filters");
    expect(why("pyproject.toml", '[project]\nname = "x"\n')).toBeUndefined();
  });

  it("marks executable files and scripts of any name", () => {
    expect(why("bin/tool", "\x7fELF", 0o755)).toBe("it is executable");
    expect(why("x", "#!/bin/sh\n")).toContain("names its interpreter");
    expect(why("x", "text")).toBeUndefined();
  });

  it("follows core.hooksPath", () => {
    const config = '[core]\n\thooksPath = "./scripts/git/"\n';
    const found = hostExecutablePaths([
      { path: "sub/scripts/git/pre-push", mode: 0o644 },
      { path: "sub/.git/config", mode: 0o644, content: config },
      { path: "scripts/git/pre-push", mode: 0o644 },
    ]);
    expect(found.map(({ path }) => path)).toEqual(["sub/.git/config", "sub/scripts/git/pre-push"]);
    expect(found[1]?.why).toContain("core.hooksPath");
  });

  it("gives one line of reason for each rule", () => {
    for (const rule of HOST_EXECUTABLE_RULES) {
      expect(rule.why).toMatch(/^[A-Za-z].{10,120}$/);
      expect(rule.paths.length).toBeGreaterThan(0);
    }
  });
});
