import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../../..");
const run = promisify(execFile);
const read = (name: string): Promise<string> => readFile(join(root, "examples/hosts", name), "utf8");

describe("The example of a host's configuration", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "pyro-path-"));
    await symlink(join(root, "bin/pyro"), join(directory, "pyro"));
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });

  it.each([
    ["claude-code", "claude-code.sh"],
    ["codex", "codex.toml"],
    ["opencode", "opencode.json"],
    ["generic", "generic.json"],
  ])("of %s is what `host print-config` prints where pyro is installed", async (host, name) => {
    const env = { HOME: "/home/me", PATH: `${directory}:${dirname(process.execPath)}:/usr/bin:/bin` };
    const { stdout } = await run("pyro", ["host", "print-config", host], { env, cwd: directory });
    const [printed, kept] = [stdout, await read(name)];
    if (!name.endsWith(".json")) expect(kept).toBe(printed);
    else expect(JSON.parse(kept)).toEqual(JSON.parse(printed));
  });

  it.each(["claude-desktop.json", "cursor.json"])(
    "%s is the generic one with the project, since such a host starts servers anywhere",
    async (name) => {
      const generic = JSON.parse(await read("generic.json")) as { mcpServers: { pyro: { args: string[] } } };
      generic.mcpServers.pyro.args.push("--project-path", "/home/me/project");
      expect(JSON.parse(await read(name))).toEqual(generic);
    },
  );
});
