/** The fake daemon as a program: `MODE --state-dir DIR`. Built by fake-daemon-program.ts. */
import { join } from "node:path";
import { tryLock } from "../../src/kit/index.js";
import { PyroError } from "../../src/protocol/index.js";
import { startFakeDaemon } from "./fake-daemon.js";

const [mode, , stateDir = ""] = process.argv.slice(2);

function refuse(error: PyroError): never {
  console.log(JSON.stringify({ error: error.toJSON() }));
  process.exit(1);
}

if (mode === "refuse")
  refuse(new PyroError("QEMU_NOT_FOUND", "no qemu here", { hint: "apt-get install it" }));
if (mode === "garbage") {
  console.error("a stack trace");
  process.exit(3);
}
if (mode === "silent") setTimeout(() => process.exit(0), 3_000);
else {
  const lock = await tryLock(join(stateDir, "daemon.lock"));
  if (lock === undefined) refuse(new PyroError("DAEMON_ALREADY_RUNNING", "one serves already"));
  const daemon = await startFakeDaemon(stateDir, { buildId: mode === "serve" ? "fake" : (mode ?? "") });
  // Held on to: what nobody refers to is closed by the garbage collector.
  process.once("exit", () => [daemon, lock]);
}
