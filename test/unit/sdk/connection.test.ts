import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openConnection } from "../../../src/sdk/connection.js";
import { temporaryState } from "../../fakes/state-directory.js";

/** Listens, and never accepts. */
const BUSY = `require("node:net").createServer().listen(process.argv[1], () => {
  require("node:fs").writeSync(1, "listens");
  for (;;);
})`;

test("a daemon that is killed before it accepts costs the call, not the process", async () => {
  await using state = await temporaryState();
  const uncaught: unknown[] = [];
  const note = (error: unknown): unknown => uncaught.push(error);
  process.on("uncaughtException", note);
  try {
    // Where it is met depends on the tick: about one of ten rounds met it while the session had no listener yet.
    for (let round = 0; round < 20; round += 1) {
      const path = join(state.path, `${round}.sock`);
      const daemon = spawn(process.execPath, ["-e", BUSY, path], { stdio: ["ignore", "pipe", "ignore"] });
      const gone = once(daemon, "exit");
      await once(daemon.stdout, "data");
      const opening = openConnection(path).catch(() => undefined);
      setImmediate(() => daemon.kill("SIGKILL"));
      const connection = await opening;
      await gone;
      await expect.poll(() => connection?.closed ?? true).toBe(true);
    }
  } finally {
    process.off("uncaughtException", note);
  }
  expect(uncaught).toEqual([]);
});
