/** docs/use-cases: what the pages tell an agent to call is what a server of their mode offers. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { toolInput } from "../../../src/mcp/tool.js";
import { toolsOf } from "../../../src/operations/index.js";
import { blocksOf, callsOf } from "../../chat-hosts/use-case.js";

const PAGES = join(import.meta.dirname, "../../../docs/use-cases");
const MODES = {
  "cold-start-validation": "cold-start",
  "repro-fix-loop": "repro-fix",
  "parallel-workspaces": "repro-fix",
  "untrusted-inspection": "inspect",
  "review-eval": "review-eval",
} as const;

describe("The pages of the use cases", () => {
  it.for(Object.entries(MODES))("%s connects mode %s, and calls only its tools", async ([page, mode]) => {
    expect(blocksOf(page, "sh")[0]).toBe(`pyro host connect claude-code --mode ${mode}\n`);
    const tools = await toolsOf(mode);
    const setting = { set: mode, environment: "debian:12", hasNetwork: false, mayPublish: false };
    const calls = callsOf(page);
    expect(calls[0]?.[0]).toBe("workspace_create");
    expect(calls.at(-1)?.[0]).toBe("workspace_delete");
    for (const [name, args] of calls) {
      const tool = tools.find((each) => each.name === name);
      if (tool === undefined) throw new Error(`mode ${mode} has no ${name}`);
      const { error } = toolInput(tool, setting).safeParse(args);
      expect(error?.issues, name).toBeUndefined();
    }
  });

  it("are all in the index, and what they link to is there", () => {
    const index = readFileSync(join(PAGES, "README.md"), "utf8");
    for (const file of readdirSync(PAGES)) {
      const text = readFileSync(join(PAGES, file), "utf8");
      for (const [, link = ""] of text.matchAll(/\]\(([^):#]+)(?:#[^)]*)?\)/g))
        expect(existsSync(join(PAGES, link)), `${file}: ${link}`).toBe(true);
    }
    for (const page of [...Object.keys(MODES), "node-project"]) expect(index).toContain(`(${page}.md)`);
  });
});
