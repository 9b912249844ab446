// What an agent does again and again: edit, test, diff, reset. The median of each, beside the least that it could take on
// this machine: what the guest itself needs for the same, and for a reset a new machine of the same environment.
import { environment, expect, say, useCase } from "./support.mjs";

const ROUNDS = 10;
const PATH = "intervals.py";
const OLD = "(result[-1][0], high)";
const NEW = "(result[-1][0], max(high, result[-1][1]))";
const IN_GUEST = {
  edit: `sed -i 's/, high)$/, max(high, result[-1][1]))/' ${PATH}`,
  diff: "git diff --exit-code",
  undo: "git checkout .",
};

await useCase("daily-loop", { project: "intervals" }, async ({ pyro, create }) => {
  const { workspaceId, isolation } = await create({ environment: environment() });
  /** The floor of edit and diff: a machine that runs on, and has done the same before. */
  const warm = await create({ environment: environment() });

  /** A command alone, in the guest, from its fork to its end. */
  const inGuest = async (command, exitCode = 0, id = warm.workspaceId) => {
    const { result } = await pyro.execWorkspace({ workspaceId: id, command });
    expect(result.exitCode === exitCode, `${command} ended with ${result.exitCode}`);
    return result.durationMs;
  };
  const round = async () => {
    const startedAt = performance.now();
    const edit = await timed(() =>
      pyro.editWorkspaceFile({ workspaceId, path: PATH, oldText: OLD, newText: NEW }),
    );
    let testFloor = 0;
    const test = await timed(async () => {
      testFloor = await inGuest("python3 -B -m unittest", 0, workspaceId);
    });
    const diff = await timed(async () => {
      const { summary } = await pyro.diffWorkspace({ workspaceId });
      expect(summary.modified === 1, `${summary.modified} files are modified`);
    });
    const reset = await timed(() => pyro.resetWorkspace(workspaceId));
    const loop = performance.now() - startedAt;

    const editFloor = await inGuest(IN_GUEST.edit);
    const diffFloor = await inGuest(IN_GUEST.diff, 1);
    await inGuest(IN_GUEST.undo);
    const { startupMs } = await pyro.runInVm({ environment: environment(), argv: ["true"] });
    const floor = { edit: editFloor, test: testFloor, diff: diffFloor, reset: startupMs };
    return { took: { edit, test, diff, reset, loop }, floor };
  };

  // The first makes what later ones find: templates, caches.
  await round();
  const rounds = [];
  while (rounds.length < ROUNDS) rounds.push(await round());
  const { changed } = await pyro.diffWorkspace({ workspaceId });
  expect(!changed, "the last reset left something");

  const took = (step) => median(rounds.map((each) => each.took[step]));
  const floor = (step) => median(rounds.map((each) => each.floor[step]));
  say(`medians of ${ROUNDS}, in ms; isolation: ${isolation}`);
  row("", "pyro", "floor", "which is");
  row("edit", took("edit"), floor("edit"), "sed -i in the guest");
  row("test", took("test"), floor("test"), "the same tests in the guest");
  row("diff", took("diff"), floor("diff"), "git diff in the guest");
  row("reset", took("reset"), floor("reset"), "a new machine, until its files are there");
  const least = ["edit", "test", "diff", "reset"].reduce((sum, step) => sum + floor(step), 0);
  row("loop", took("loop"), least, "all four");
});

async function timed(work) {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

function median(samples) {
  return [...samples].sort((a, b) => a - b)[samples.length >> 1];
}

function row(step, pyro, floor, what) {
  const cell = (value) => (typeof value === "number" ? value.toFixed(0) : value).padStart(8);
  say(`${step.padEnd(6)}${cell(pyro)}${cell(floor)}   ${what}`);
}
