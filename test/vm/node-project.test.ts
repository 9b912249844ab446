/**
 * docs/use-cases/node-project.md from a terminal, to the letter, with npm's own registry and a project with a real test
 * runner. What it says of chat hosts, use-cases/repro-fix-loop.test.ts does in one.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { blocksOf, projectFiles } from "../chat-hosts/use-case.js";
import { PYRO, testState, type TestState } from "./support.js";

const execute = promisify(execFile);
const [INSTALL, , TERMINAL] = blocksOf("node-project", "sh");

let state: TestState;
let project: string;
beforeAll(async () => {
  state = await testState();
  project = await mkdtemp(join(tmpdir(), "pyro-project-"));
  const files = {
    ...projectFiles("durations"),
    "seconds.js": 'import ms from "ms";\nexport const seconds = (text) => ms(text) / 1000;\n',
    // Before the page's own first step.
    "package.json": JSON.stringify({
      ...{ name: "durations", version: "1.0.0", private: true, type: "module" },
      ...{ scripts: { test: "node --test" }, dependencies: { ms: "2.1.3" } },
    }),
  };
  for (const [name, content] of Object.entries(files)) await writeFile(join(project, name), content);
  await execute("git", ["init", "-q"], { cwd: project });
  // The commands say `pyro`, as whoever installed it does.
  await mkdir(join(project, ".git/bin"));
  await writeFile(
    join(project, ".git/bin/pyro"),
    `#!/bin/sh\nPYRO_POOL=0 exec '${process.execPath}' '${PYRO}' --state-dir '${state.path}' "$@"\n`,
    { mode: 0o755 },
  );
  await symlink(process.execPath, join(project, ".git/bin/node"));
});
afterAll(async () => {
  await rm(project, { recursive: true, force: true });
  await state[Symbol.asyncDispose]();
});

/** A block of the page, typed into a shell in the project. */
const typed = async (block = ""): Promise<string> => {
  const env = { ...process.env, PATH: `${join(project, ".git/bin")}:${process.env["PATH"] ?? ""}` };
  const { stdout } = await execute("bash", ["-ec", block], { cwd: project, env, timeout: 240_000 });
  return stdout;
};

it(
  "a Node project runs its tests from a terminal, by the page's own lines",
  { timeout: 360_000 },
  async () => {
    await typed(INSTALL);
    expect(await typed(TERMINAL)).toMatch(/pass 1\b/);
  },
);
