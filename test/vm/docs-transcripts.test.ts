import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { allBlocks, type Block } from "../unit/docs/markdown.js";
import { PYRO, testState, type TestState } from "./support.js";

// What pages show as typed and seen is typed and seen here, in real machines. Which commands there are at all is proven
// for every block of every page by test/unit/docs; here are those that a new user meets first.

let state: TestState;
let blocks: readonly Block[];
beforeAll(async () => {
  [state, blocks] = await Promise.all([testState(), allBlocks()]);
});
afterAll(() => state[Symbol.asyncDispose]());

interface Typed {
  readonly status: number;
  readonly output: string;
}

/** A directory in which `pyro` and `bin/pyro` are this checkout's, over the test's state. */
async function place(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const directory = join(state.path, name);
  await mkdir(join(directory, "bin"), { recursive: true });
  const shim = `#!/bin/sh\nexec ${process.execPath} ${PYRO} --state-dir ${state.path} "$@"\n`;
  await writeFile(join(directory, "bin/pyro"), shim, { mode: 0o755 });
  for (const [file, text] of Object.entries(files)) {
    await mkdir(join(directory, file, ".."), { recursive: true });
    await writeFile(join(directory, file), text);
  }
  return directory;
}

/** Types one line into a shell there; `errors` says where standard error goes. */
async function type(line: string, directory: string, errors = "exec 2>&1"): Promise<Typed> {
  const env = {
    ...process.env,
    PYRO_POOL: "0",
    PATH: `${join(directory, "bin")}:${process.env["PATH"] ?? ""}`,
  };
  try {
    const { stdout } = await promisify(execFile)("sh", ["-c", `${errors}\n${line}`], { cwd: directory, env });
    return { status: 0, output: stdout };
  } catch (error) {
    const { code, stdout } = error as { code: unknown; stdout: string };
    if (typeof code !== "number") throw error;
    return { status: code, output: stdout };
  }
}

function blockWith(page: string, text: string): Block {
  const found = blocks.find((block) => block.page === page && block.text.includes(text));
  if (found === undefined) throw new Error(`${page} has no block with ${text}`);
  return found;
}

/** What differs from run to run, and the notice that comes once where there is no KVM. */
function comparable(output: string): string {
  return output
    .replace(/^pyro: software emulation is used.*\n/gm, "")
    .replace(/ws-[0-9a-f]{16}/g, "ws-ID")
    .trim();
}

test("the transcript of the first run is what is seen", async () => {
  const directory = await place("first-run", { "sum.py": "print(sum(range(10)))\n" });
  for (const text of [
    "pyro run debian:12 -- git --version",
    "pyro workspace create debian:12 --seed-path .",
  ]) {
    const parts = blockWith("docs/first-run.md", text).text.split(/^\$ /m).slice(1);
    for (const part of parts) {
      const [line = "", ...shown] = part.split("\n");
      // A minute of fetching: test/vm/environments.test.ts does it.
      if (line.startsWith("pyro env pull")) continue;
      // Lines of progress are wiped on a terminal, and not on pages.
      const { status, output } = await type(line, directory, "exec 2>/dev/null");
      expect({ line, status, output: comparable(output) }).toEqual({
        ...{ line, status: 0 },
        output: comparable(shown.join("\n")),
      });
    }
  }
});

test("the README's workspace finds the bug, mends it, shows the change and brings it home", async () => {
  const directory = await place("readme", {
    "repo/app.py": "def add(a, b):\n    return a - b\n",
    "repo/test_app.py":
      "import unittest\nfrom app import add\n\nclass Adds(unittest.TestCase):\n    def test_adds(self):\n        self.assertEqual(add(2, 3), 5)\n",
  });
  const { text } = blockWith("README.md", "workspace create debian:12 --seed-path ./repo");
  const home = join(directory, "home.py");
  const seen: Typed[] = [];
  for (const line of text.trim().split("\n"))
    seen.push(await type(line.replace("/tmp/app.py", home), directory));
  const [create, fails, edit, diff, exported, gone] = seen;
  expect(seen.map(({ status }) => status)).toEqual([0, 1, 0, 0, 0, 0]);
  expect(create?.output).toContain("is ready");
  expect(fails?.output).toContain("FAILED (failures=1)");
  expect(edit?.output).toContain("app.py");
  expect(diff?.output).toContain("-    return a - b\n+    return a + b\n");
  expect(exported?.output).toContain(home);
  expect(gone?.output).toContain("is deleted");
  // What came home passes the test that failed.
  const check = `cp -r repo mended && cp ${home} mended/app.py && cd mended && PYTHONDONTWRITEBYTECODE=1 python3 -m unittest`;
  expect(await type(check, directory)).toMatchObject({ status: 0 });
});

test("the README's program prints what a machine said", async () => {
  const { text } = blockWith("README.md", 'import { Pyro } from "pyro-mcp"');
  const directory = await place("program", {
    "program.mjs":
      text
        .replace("await using pyro", "const pyro")
        .replace("new Pyro()", `new Pyro({ stateDir: ${JSON.stringify(state.path)} })`) +
      "\nawait pyro[Symbol.asyncDispose]();\n",
    "node_modules/pyro-mcp/package.json": JSON.stringify({
      name: "pyro-mcp",
      type: "module",
      exports: join("./index.js").replace(/^/, "./"),
    }),
    "node_modules/pyro-mcp/index.js": `export * from ${JSON.stringify(join(PYRO, "../../dist/index.js"))};\n`,
  });
  const { status, output } = await type("node program.mjs", directory);
  expect({ status, output }).toEqual({
    status: 0,
    output: expect.stringMatching(/^0 6\.\d.*\n (kvm|software)\n$/) as string,
  });
});
