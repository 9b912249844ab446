// A review by a checklist in one terminal; then an evaluation that ruins the machine, the way back, and a report.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environment, expect, say, sayCreated, useCase } from "./support.mjs";

await useCase("review-eval", { project: "tally" }, async ({ pyro, create, exec }) => {
  const created = await create({ environment: environment(), name: "review" });
  sayCreated(created);
  const { workspaceId } = created;
  const shell = await pyro.shell({ workspaceId });
  /** Types a line, and reads until the shell waits for the next one: what a person would see. */
  const type = async (line) => {
    await shell.write(`${line}\r`);
    say(`> ${line}`);
    for (;;) {
      const { output, idle } = await shell.read({ plain: true, waitForIdleMs: 1_000 });
      if (idle === "input") return output;
    }
  };
  const checklist = await type("cat CHECKLIST.md");
  expect(checklist.includes("1. make install"), "the checklist is another");
  await type("make install");
  const check = await type("make check");
  expect(/^OK$/m.test(check), "the check fails");
  say("  OK");

  await pyro.createSnapshot({ workspaceId, snapshotName: "checked" });
  say("snapshot checked");
  const ruined = await type("sh evaluate.sh; make check");
  expect(/make: .*(not found|No such file)/.test(ruined), "the evaluation ruined nothing");
  say("  make: not found");
  await pyro.resetWorkspace(workspaceId, { snapshot: "checked" });
  say("reset to checked");
  const back = await exec(workspaceId, "make check && tally cases/more.txt");
  expect(back.exitCode === 0 && back.text.includes("321"), "the reset brought not all back");

  const content = "# Review\n\nThe checklist passes. The evaluation removes what tally needs.\n";
  await pyro.writeWorkspaceFile({ workspaceId, path: "REPORT.md", content });
  const home = mkdtempSync(join(tmpdir(), "pyro-report-"));
  try {
    const outputPath = join(home, "REPORT.md");
    await pyro.exportWorkspace({ workspaceId, path: "REPORT.md", outputPath });
    expect(readFileSync(outputPath, "utf8") === content, "the report is another");
    say("exported REPORT.md");
  } finally {
    rmSync(home, { recursive: true });
  }
  await pyro.deleteWorkspace(workspaceId);
  say("deleted");
});
