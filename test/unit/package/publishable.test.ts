import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../../..");
const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");

test("nothing with a placeholder is published", () => {
  const { prepublishOnly = "" } = (JSON.parse(read("package.json")) as { scripts: Record<string, string> })
    .scripts;
  const [program = "", ...args] = prepublishOnly.split(" ");
  const { status, stderr } = spawnSync(program, args, { cwd: ROOT, encoding: "utf8" });
  const open = ["package.json", "plugins/mcp-registry/server.json"].filter((file) =>
    read(file).includes("OWNER"),
  );
  expect(status).toBe(open.length === 0 ? 0 : 1);
  for (const file of open) expect(stderr).toContain(file);
});
