// Two ideas for one bug, each in a machine of its own, at the same time; the better one is taken home.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environment, expect, say, sayCreated, useCase } from "./support.mjs";

const ideas = [
  { name: "larger", path: "ring.h", oldText: "RING_SIZE 4", newText: "RING_SIZE 16" },
  { name: "wrap", path: "ring.c", oldText: "ring->head++]", newText: "ring->head++ % RING_SIZE]" },
];

await useCase("parallel-workspaces", { project: "ring" }, async ({ pyro, create, exec }) => {
  const labels = { bug: "ring-wraps" };
  const tries = await Promise.all(
    ideas.map(async ({ name, ...edit }) => {
      const created = await create({ environment: environment({ compiler: true }), name, labels });
      await pyro.editWorkspaceFile({ workspaceId: created.workspaceId, ...edit });
      return { ...created, path: edit.path };
    }),
  );
  tries.forEach(sayCreated);
  const listed = await pyro.listWorkspaces();
  say(`at once: ${listed.filter((workspace) => workspace.labels.bug === labels.bug).length} workspaces`);

  // Both pass the test that failed; only one of them what the test meant.
  for (const one of tries) {
    say(`-- ${one.name}`);
    const test = await exec(one.workspaceId, "make test");
    expect(test.exitCode === 0, `${one.name} does not pass the test`);
    one.lasts = (await exec(one.workspaceId, "./check 100000")).exitCode === 0;
  }
  for (const { name, workspaceId, path } of tries) {
    const { changedFiles, commands } = await pyro.summarizeWorkspace(workspaceId);
    const failed = commands.filter(({ result }) => result?.exitCode !== 0).length;
    const sources = changedFiles.map((file) => file.path).filter((file) => file !== "check");
    say(`${name}: changed ${sources.join(", ")}; ${failed} of ${commands.length} commands failed`);
    expect(sources.join() === path, `${name} has changed ${sources.join()}: one sees the other's files`);
  }

  const winners = tries.filter(({ lasts }) => lasts);
  expect(winners.length === 1, `${winners.length} ideas last`);
  const [{ name, workspaceId, path }] = winners;
  const home = mkdtempSync(join(tmpdir(), "pyro-winner-"));
  try {
    const outputPath = join(home, path);
    await pyro.exportWorkspace({ workspaceId, path, outputPath });
    expect(readFileSync(outputPath, "utf8").includes("% RING_SIZE];"), "the export is not the winner's");
    say(`exported ${path} of ${name}`);
  } finally {
    rmSync(home, { recursive: true });
  }
  for (const one of tries) await pyro.deleteWorkspace(one.workspaceId);
  say("deleted both");
});
