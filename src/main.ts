import { thisBuild, useBufferForText } from "./kit/index.js";
import { processHost, runCli } from "./cli/index.js";

/** The command. Composes the faces with the daemon, each loaded when it is needed, and ends the process. */
export async function main(): Promise<void> {
  useBufferForText();
  const status = platformProblem() ?? (await runCli(processHost(serveAsDaemon)));
  // Standard input may still be open, and nobody waits for it.
  process.exit(status);
}

async function serveAsDaemon({ stateDir }: { readonly stateDir: string | undefined }): Promise<void> {
  const { runDaemon } = await import("./daemon/index.js");
  const { version, buildId } = thisBuild();
  await runDaemon({ stateDir, version, buildId });
}

/** Exit status where this host cannot run pyro at all. */
function platformProblem(): number | undefined {
  if (process.platform === "linux" && process.arch === "x64") return undefined;
  console.error(
    `PLATFORM_NOT_SUPPORTED: pyro runs on Linux x86-64; this is ${process.platform} ${process.arch}\n` +
      "hint: use it in a Linux virtual machine (on Windows: WSL2), and connect the chat host to it there",
  );
  return 125;
}

// The daemon is started as `node dist/main.js daemon run`; bin/pyro imports this file and calls main itself.
if (process.argv[1] !== undefined && process.argv[1] === thisBuild().mainPath) await main();
