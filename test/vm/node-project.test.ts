/** docs/use-cases/node-project.md, to the letter, with npm's own registry and a project with a real test runner. */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { projectFiles } from "../chat-hosts/use-case.js";
import { mcpSession, type Answer } from "./mcp-session.js";
import { PYRO, testState, type TestState } from "./support.js";

const execute = promisify(execFile);
const RECIPE = join(import.meta.dirname, "../../docs/use-cases/node-project.md");

let state: TestState;
let project: string;
let blocks: string[];
beforeAll(async () => {
  state = await testState();
  project = await mkdtemp(join(tmpdir(), "pyro-project-"));
  const recipe = await readFile(RECIPE, "utf8");
  blocks = [...recipe.matchAll(/^```\w+\n(.*?)^```$/gms)].map(([, block = ""]) => block);
  const files = {
    ...projectFiles("durations"),
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

/** A block of the recipe, typed into a shell in the project. */
const typed = async (block = ""): Promise<string> => {
  const env = { ...process.env, PATH: `${join(project, ".git/bin")}:${process.env["PATH"] ?? ""}` };
  const { stdout } = await execute("bash", ["-ec", block], { cwd: project, env, timeout: 240_000 });
  return stdout;
};

/** `name(key="value", …)` as a call. */
function toCall(line: string): [string, Record<string, unknown>] {
  const [, tool = "", rest = ""] = /^(\w+)\((.*)\)$/.exec(line) ?? [];
  const fields = [...rest.matchAll(/(\w+)=("(?:[^"\\]|\\.)*")/g)];
  return [tool, Object.fromEntries(fields.map(([, key = "", value = ""]) => [key, JSON.parse(value)]))];
}

describe("The recipe of a Node project", () => {
  it(
    "runs the project's tests in a workspace of the default profile, red and green",
    { timeout: 480_000 },
    async () => {
      const [install, connect = "", calls = ""] = blocks;
      await typed(install);
      const [, flags = ""] = /pyro mcp serve (.*)$/m.exec(connect) ?? [];
      expect(flags).toBe("--seed-include node_modules");
      await using host = await mcpSession({ stateDir: state.path, cwd: project, flags: flags.split(" ") });
      const answers: Answer[] = [];
      const lines = calls.trim().split("\n").map(toCall);
      for (const [tool, args] of lines) answers.push(await host.call(tool, args));
      const [created, red] = answers;
      expect([created?.isError, created?.record["state"]]).toEqual([false, "started"]);
      expect(red?.words).toMatch(/^exit 1\n/);
      expect(red?.guest).toMatch(/1200 !== 120/);

      const workspace_id = "node";
      const fix = { path: "seconds.js", old_text: "/ 100;", new_text: "/ 1000;" };
      await host.call("workspace_file_edit", { workspace_id, ...fix });
      const [again = ["", {}] as const] = lines.slice(-1);
      const green = await host.call(...again);
      expect(green.words).toMatch(/^exit 0\n/);
      expect(green.guest).toMatch(/pass 1\b/);
      const diff = await host.call("workspace_diff", { workspace_id });
      expect(diff.words).toMatch(/^1 changed: 0 added, 1 modified/);
      await host.call("workspace_delete", { workspace_id });
    },
  );

  it("runs them from a terminal too", { timeout: 240_000 }, async () => {
    await writeFile(
      join(project, "seconds.js"),
      'import ms from "ms";\nexport const seconds = (text) => ms(text) / 1000;\n',
    );
    expect(await typed(blocks[3])).toMatch(/pass 1\b/);
  });
});
