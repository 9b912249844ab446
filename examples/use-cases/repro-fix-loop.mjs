// A test fails: see it fail, mend it, see it pass, take the patch, and put all back as it was.
// `--project ring` (C, by default), `intervals` (Python), `durations` (Node, whose dependencies npm fetches beforehand).
import { execFileSync } from "node:child_process";
import { chosenProject, environment, expect, say, sayCreated, useCase } from "./support.mjs";

const bugs = {
  ring: {
    compiler: true,
    test: "make test",
    path: "ring.c",
    oldText: "ring->head++]",
    newText: "ring->head++ % RING_SIZE]",
  },
  intervals: {
    test: "python3 -B -m unittest",
    path: "intervals.py",
    oldText: "(result[-1][0], high)",
    newText: "(result[-1][0], max(high, result[-1][1]))",
  },
  durations: {
    // The environments have no Node: the project brings one.
    include: ["node_modules"],
    prepare: (cwd) => execFileSync("npm", ["install", "--silent", "--no-audit", "--no-fund"], { cwd }),
    test: "PATH=node_modules/.bin:$PATH node --test",
    path: "seconds.js",
    oldText: "/ 100;",
    newText: "/ 1000;",
  },
};
const project = chosenProject ?? "ring";
const bug = bugs[project];
expect(bug !== undefined, `there is no project ${project}; there are ${Object.keys(bugs).join(", ")}`);

await useCase("repro-fix-loop", { project, ...bug }, async ({ pyro, create, exec }) => {
  const { test, path, oldText, newText } = bug;
  const created = await create({ environment: environment(bug), name: "fix" });
  sayCreated(created);
  const { workspaceId } = created;
  const red = await exec(workspaceId, test);
  expect(red.exitCode !== 0, "the test passes already");

  await pyro.editWorkspaceFile({ workspaceId, path, oldText, newText });
  say(`edited ${path}`);
  const green = await exec(workspaceId, test);
  expect(green.exitCode === 0, "the test still fails");

  const diff = await pyro.diffWorkspace({ workspaceId, path });
  say(`diff: ${diff.summary.modified} modified, +${diff.summary.insertions} -${diff.summary.deletions}`);
  for (const line of Buffer.from(diff.patch).toString().split("\n"))
    if (/^[-+][^-+]/.test(line)) say(`  ${line}`);

  await pyro.resetWorkspace(workspaceId);
  const again = await exec(workspaceId, test);
  expect(again.exitCode !== 0, "the reset did not bring the fault back");
  await pyro.deleteWorkspace(workspaceId);
  say("deleted");
});
