// A repository that nobody here knows: does it install, does it pass its tests, does its service answer?
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { environment, expect, say, sayCreated, useCase } from "./support.mjs";

await useCase("cold-start-validation", { project: "greeter" }, async ({ pyro, create, exec }) => {
  const created = await create({ environment: environment(), name: "try" });
  sayCreated(created);
  const { workspaceId } = created;
  const tests = await exec(workspaceId, "python3 -B -m unittest");
  const install = await exec(workspaceId, "make install");
  expect(tests.exitCode === 0 && install.exitCode === 0, "it does not install");

  const service = await pyro.startService({
    workspaceId,
    serviceName: "greeter",
    command: "exec greeter 8080",
    readiness: { type: "http", url: "http://localhost:8080/health" },
  });
  say(`service greeter: ${service.state}`);
  const answer = await exec(workspaceId, "curl -fsS http://localhost:8080/");
  expect(answer.text === "Good morning.\n", "it answers something else");

  const content = `# greeter\n\nInstalls: yes. Tests: pass. Answers: ${answer.text}`;
  await pyro.writeWorkspaceFile({ workspaceId, path: "REPORT.md", content });
  const home = mkdtempSync(join(tmpdir(), "pyro-report-"));
  try {
    const outputPath = join(home, "REPORT.md");
    await pyro.exportWorkspace({ workspaceId, path: "REPORT.md", outputPath });
    expect(existsSync(outputPath) && readFileSync(outputPath, "utf8") === content, "the report is another");
    say("exported REPORT.md");
  } finally {
    rmSync(home, { recursive: true });
  }
  await pyro.deleteWorkspace(workspaceId);
  say("deleted");
});
