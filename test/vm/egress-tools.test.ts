/** What programs do with a network, unchanged: apt, npm and pip with this host's sources and registries. */
import { cp, mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findProgram, searchPath } from "../../src/kit/index.js";
import { testState, type TestState } from "./support.js";
import { workspaceOf } from "./workspace-of.js";

const LONG = 480_000;

describe("Package managers in a workspace with egress", () => {
  let state: TestState;
  let tools: string;
  const { call, sh, record, lastRefusal } = workspaceOf(() => state, "tools");
  /** What this test's user opened so far: addresses of mirrors that are not public. */
  const opened = new Set<string>();

  beforeAll(async () => {
    state = await testState();
    // debian:12-build has no Node: this host's own, and its npm, come with the seed.
    tools = await mkdtemp(join(tmpdir(), "pyro-tools-"));
    const npm = await realpath(
      (await findProgram("npm", searchPath(process.env["PATH"]))) ?? "/npm is not here",
    );
    await cp(process.execPath, join(tools, "node"));
    await cp(dirname(dirname(npm)), join(tools, "npm"), { recursive: true });
    await mkdir(join(tools, "project"));
    const project = { name: "small", version: "1.0.0", private: true, dependencies: { debug: "4.4.0" } };
    await writeFile(join(tools, "project/package.json"), JSON.stringify(project));
    const options = ["--name", "tools", "--network-policy", "egress", "--seed-path", tools];
    expect((await call("create", "debian:12-build", ...options)).code).toBe(0);
  });
  afterAll(async () => {
    await call("delete", "tools");
    await rm(tools, { recursive: true, force: true });
    await state[Symbol.asyncDispose]();
  });

  /**
   * Runs a line until nothing of it is refused any more. Where the registry's address is not public it is refused first, by
   * name, and says which flag opens it; that is then given, as a user would.
   */
  async function opening(line: string): Promise<{ output: string; refusals: (string | null)[] }> {
    const refusals: (string | null)[] = [];
    for (let round = 0; round < 4; round++) {
      const output = await sh(line);
      refusals.push(await lastRefusal());
      const { entries } = await record();
      const hints = entries.map(
        ({ hint }) => /^only the user .* --allow-cidr ([0-9a-f.:]+)`/.exec(hint ?? "")?.[1],
      );
      const fresh = hints.filter((address) => address !== undefined && !opened.has(address));
      if (fresh.length === 0) return { output, refusals };
      for (const address of fresh) if (address !== undefined) opened.add(address);
      const flags = [...opened].flatMap((address) => ["--allow-cidr", address]);
      expect((await call("network", "set", "tools", "--network-policy", "egress", ...flags)).code).toBe(0);
    }
    throw new Error(`still refused: ${refusals.join("\n")}`);
  }

  it(
    "has apt's sources of this host: update and install work, refused first where the mirror is not public",
    { timeout: LONG },
    async () => {
      const { output, refusals } = await opening(
        "apt-get -o Acquire::Languages=none update && apt-get install -y --no-install-recommends hello && hello",
      );
      expect(output).toContain("Hello, world!");
      for (const refusal of refusals.slice(0, -1)) {
        expect(refusal).toMatch(
          /refuses \S+ \(\S+\.\S+\): .*; only the user can allow it: .*--allow-cidr [0-9a-f.:]+`/,
        );
      }
      expect(refusals.at(-1)).toBeNull();
      expect(refusals.length).toBe(opened.size === 0 ? 1 : 2);
    },
  );

  it("installs a small tree by npm", { timeout: LONG }, async () => {
    const { output } = await opening(
      "cd project && PATH=/workspace:$PATH && node ../npm/bin/npm-cli.js install --no-audit --no-fund" +
        ` && node -e 'console.log(require("debug")("small").namespace, require("ms")("2m"))'`,
    );
    expect(output).toMatch(/^small 120000$/m);
  });

  it("installs a wheel by pip", { timeout: LONG }, async () => {
    const { output } = await opening(
      "python3 -m pip install --quiet --target /tmp/wheels six && PYTHONPATH=/tmp/wheels python3 -c 'import six; print(six.__name__)'",
    );
    expect(output).toMatch(/^six$/m);
  });
});
