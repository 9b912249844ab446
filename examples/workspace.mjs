// A machine for many calls: files in, a test that fails, a mend, a test that passes, the difference out.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pyro } from "pyro-mcp";

const project = await mkdtemp(join(tmpdir(), "pyro-example-"));
await writeFile(join(project, "app.py"), "def add(a, b):\n    return a - b\n");
await writeFile(join(project, "test_app.py"), "from app import add\n\nassert add(2, 3) == 5\n");

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
try {
  const source = { kind: "path", path: project };
  const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12", source });
  try {
    const test = async () => {
      const { result } = await pyro.execWorkspace({ workspaceId, argv: ["python3", "test_app.py"] });
      console.log(`the test ends with ${result.exitCode}`);
    };
    await test();
    const edit = { workspaceId, path: "app.py", oldText: "a - b", newText: "a + b" };
    await pyro.editWorkspaceFile(edit);
    await test();
    const { patch } = await pyro.diffWorkspace({ workspaceId });
    process.stdout.write(patch);
    await pyro.exportWorkspace({ workspaceId, path: "app.py", outputPath: join(project, "mended.py") });

    // Back to how it began, whatever was done to it.
    await pyro.resetWorkspace(workspaceId);
    console.log(`changed after the reset: ${(await pyro.diffWorkspace({ workspaceId })).changed}`);
  } finally {
    await pyro.deleteWorkspace(workspaceId);
  }
} finally {
  await pyro[Symbol.asyncDispose]();
  await rm(project, { recursive: true });
}
