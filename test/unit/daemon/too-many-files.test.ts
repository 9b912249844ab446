/** Threats, row 76: a daemon that runs out of descriptors lives on, and serves again when they come back. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Pyro } from "../../../src/sdk/index.js";
import { PYRO } from "../../fakes/built-command.js";
import { temporaryState } from "../../fakes/state-directory.js";

it("a daemon whose descriptors are all taken by idle callers serves the next ones after they left", async () => {
  await using state = await temporaryState();
  const socket = join(state.path, "daemon.sock");
  const limit = ["-c", 'ulimit -n 48; exec "$@"', "sh", process.execPath, PYRO];
  const daemon = spawn("sh", [...limit, "--state-dir", state.path, "daemon", "run"], {
    ...{ stdio: "ignore", env: { ...process.env, PYRO_POOL: "0" } },
  });
  try {
    for (
      let tries = 0;
      !(await access(socket).then(
        () => true,
        () => false,
      ));
      tries++
    ) {
      expect(tries).toBeLessThan(600);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const callers: Socket[] = [];
    for (let count = 0; count < 80; count++) {
      const caller = connect(socket);
      caller.on("error", () => undefined);
      callers.push(caller);
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (const caller of callers) caller.destroy();
    await using pyro = new Pyro({ stateDir: state.path });
    expect(await pyro.listWorkspaces()).toEqual([]);
    expect((await pyro.daemonStatus()).pid).toBe(daemon.pid);
  } finally {
    const gone = once(daemon, "exit");
    daemon.kill("SIGTERM");
    await gone;
  }
});
