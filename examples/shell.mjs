// A terminal that stays: what one line sets, the next one sees. A person can look on by `pyro workspace shell attach`.
import { Pyro } from "pyro-mcp";

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
try {
  const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12" });
  try {
    const shell = await pyro.shell({ workspaceId });
    const type = async (line) => {
      await shell.write(`${line}\r`);
      // As a person would see it, once the program waits for input again.
      const { output, idle } = await shell.read({ plain: true, waitForIdleMs: 500, waitMs: 10_000 });
      console.log(`${output.trim()}\n[${idle}]`);
    };
    await type("cd /etc && WORD=hello");
    await type("echo $WORD from $PWD");
    await shell.close();
  } finally {
    await pyro.deleteWorkspace(workspaceId);
  }
} finally {
  await pyro[Symbol.asyncDispose]();
}
