import { expect, test } from "vitest";
import { cli } from "../../fakes/cli-host.js";

test.each([
  [[]],
  [["--help"]],
  [["run", "--help"]],
  [["workspace", "--help"]],
  [["workspace", "create", "--help"]],
  [["workspace", "exec", "--help"]],
  [["workspace", "file", "--help"]],
  [["workspace", "export", "--help"]],
  [["workspace", "update", "--help"]],
  [["env", "--help"]],
  [["env", "pull", "--help"]],
  [["doctor", "--help"]],
  [["prepare", "--help"]],
  [["demo", "--help"]],
  [["demo", "ollama", "--help"]],
  [["daemon", "--help"]],
  [["daemon", "logs", "--help"]],
  [["mcp", "--help"]],
  [["mcp", "serve", "--help"]],
  [["host", "--help"]],
  [["host", "connect", "--help"]],
  [["host", "print-config", "--help"]],
  [["host", "doctor", "--help"]],
  [["host", "repair", "--help"]],
])("pyro %s", async (argv) => {
  const { status, stdout, stderr } = await cli(argv);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(stdout).toMatchSnapshot();
});

test("the help teaches in the order of the contract", async () => {
  const { stdout } = await cli(["--help"]);
  const steps = [
    "pyro doctor",
    "pyro env list",
    "pyro env pull debian:12",
    "pyro run debian:12 -- git --version",
    "pyro mcp serve",
  ];
  const places = [
    ...steps,
    "pyro host connect claude-code",
    "claude mcp add pyro -- pyro mcp serve",
    "codex mcp add pyro -- pyro mcp serve",
    "OpenCode",
  ].map((step) => stdout.indexOf(step));
  expect(places).not.toContain(-1);
  expect(places).toEqual([...places].sort((a, b) => a - b));
});
