// The recipe docs/use-cases/repro-fix-loop.md in the connected Claude Code, with a model that plays a script.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { anthropicMessages } from "../../test/chat-hosts/anthropic-messages.ts";
import { CHAT_HOSTS } from "../../test/chat-hosts/hosts.ts";
import { readingOf } from "../../test/chat-hosts/reading.ts";
import { scriptedModel } from "../../test/chat-hosts/scripted-model.ts";
import { must } from "./run.mjs";

const PROMPT = "Please make the failing test of this repository pass, with the tools of pyro.";

/** A repository of Python whose test fails, and what mends it. */
const FILES = {
  "parity.py": "def is_even(number):\n    return number % 2\n",
  "test_parity.py":
    "import unittest\nfrom parity import is_even\n\n\nclass Parity(unittest.TestCase):\n" +
    "    def test_even(self):\n        self.assertTrue(is_even(4))\n        self.assertFalse(is_even(3))\n",
};
const PATCH =
  "--- a/parity.py\n+++ b/parity.py\n@@ -1,2 +1,2 @@\n def is_even(number):\n" +
  "-    return number % 2\n+    return number % 2 == 0\n";

/**
 * @param {string} checkout a directory that is made and removed
 * @returns {Promise<string>} what the model did, for people
 */
export async function reproFix(checkout) {
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(checkout, name)), { recursive: true });
    writeFileSync(join(checkout, name), text);
  }
  git(checkout, "init", "--quiet");
  git(checkout, "add", ".");
  const who = ["-c", "user.name=New User", "-c", "user.email=new@example.org"];
  git(checkout, ...who, "commit", "--quiet", "--message", "a project");

  const { claudeCode } = CHAT_HOSTS;
  const steps = [];
  const script = async (model) => {
    const { call, load } = readingOf(claudeCode, model);
    const step = async (tool, args, wanted) => {
      const started = performance.now();
      const { words, guest } = await call(tool, args);
      must(wanted.test(`${words}\n${guest}`), `${tool} answered: ${words}\n${guest}`);
      const [first] = /^(exit|done).*/.exec(words) ?? ["done"];
      steps.push(`${tool}: ${first} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
      return words;
    };
    const made = JSON.parse(await step("workspace_create", { name: "fix" }, /"state":"started"/));
    const { workspace_id } = made;
    const test = { workspace_id, command: "python3 -B -m unittest" };
    await step("workspace_exec", test, /^exit 1\n[^]*AssertionError/);
    await step("workspace_patch_apply", { workspace_id, patch: PATCH }, /modified/);
    await step("workspace_exec", test, /^exit 0\n[^]*OK/);
    await step("workspace_diff", { workspace_id }, /1 modified[^]*\+    return number % 2 == 0/);
    await load("workspace_export", "workspace_delete");
    const output_path = join(checkout, "parity.py.mended");
    await step("workspace_export", { workspace_id, path: "parity.py", output_path }, /parity\.py/);
    await step("workspace_delete", { workspace_id }, /"deleted":true/);
    return "The test passes; parity.py.mended is the mended file.";
  };
  const model = await scriptedModel({ api: anthropicMessages, prompt: PROMPT, script });
  const env = {
    ...process.env,
    ANTHROPIC_BASE_URL: model.url,
    ANTHROPIC_API_KEY: "sk-ant-none",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    DISABLE_AUTOUPDATER: "1",
    DISABLE_TELEMETRY: "1",
    DISABLE_ERROR_REPORTING: "1",
  };
  const args = ["-p", PROMPT, "--allowedTools", "mcp__pyro", "--model", "claude-opus-4-8"];
  const child = spawn("claude", args, {
    cwd: checkout,
    env,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 150_000,
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += chunk));
  const status = await new Promise((resolve) => child.once("close", resolve));
  await model.finished(said);
  await model[Symbol.asyncDispose]();
  must(status === 0, `claude ended with ${status}: ${said}`);
  const changed = git(checkout, "status", "--short");
  must(changed === "?? parity.py.mended\n", `the checkout is changed: ${changed}`);
  rmSync(checkout, { recursive: true });
  return `${steps.join("\n")}\n${said.trim()}`;
}

function git(cwd, ...args) {
  const { status, stdout, stderr } = spawnSync("git", args, { cwd, encoding: "utf8" });
  must(status === 0, `git ${args.join(" ")}: ${stderr}`);
  return stdout;
}
