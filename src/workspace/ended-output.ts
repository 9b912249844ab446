import { PyroError } from "../protocol/index.js";
import type { MachineLog } from "./machine-services.js";
import type { Redactor } from "./secrets/index.js";
import type { WorkspaceMachine } from "./workspace-machine.js";
import { isAlive, type ServiceFacts } from "./workspace-services.js";

/**
 * Masks the secrets in what a machine keeps of the output of services and shells that have ended, byte for byte: its memory
 * is about to be written, and what is told of them is the same as before.
 * @throws {PyroError} what the machine says, but of what is gone meanwhile
 */
export async function maskEnded(
  { services, shells }: Pick<WorkspaceMachine, "services" | "shells">,
  known: readonly ServiceFacts[],
  redactor: Redactor,
  signal: AbortSignal,
): Promise<void> {
  if (redactor.isEmpty) return;
  for (const service of known) {
    if (isAlive(service)) continue;
    await unlessGone("SERVICE_NOT_FOUND", async () => {
      const logs = await services.logs(service.name, { signal });
      const masked = { stdout: maskedLog(logs.stdout, redactor), stderr: maskedLog(logs.stderr, redactor) };
      if (masked.stdout === logs.stdout && masked.stderr === logs.stderr) return;
      await services.rewriteLogs(service, masked, { signal });
    });
  }
  for (const { shellId, isRunning, totalBytes } of await shells.list()) {
    if (isRunning) continue;
    await unlessGone("SHELL_NOT_FOUND", async () => {
      const pieces = [];
      for await (const piece of shells.read(shellId, { offset: 0, signal }))
        if (piece.kind === "data") pieces.push(piece.data);
      const shown = { data: Buffer.concat(pieces), totalBytes };
      const masked = maskedLog(shown, redactor);
      if (masked !== shown) await shells.rewrite(shellId, totalBytes - masked.data.length, masked.data);
    });
  }
}

/** The same log where there is no secret in it. */
function maskedLog(log: MachineLog, redactor: Redactor): MachineLog {
  const { data, totalBytes } = log;
  const masked = redactor.mask(totalBytes > data.length ? redactor.maskRest(data) : data);
  return Buffer.compare(masked, data) === 0 ? log : { data: masked, totalBytes };
}

async function unlessGone(code: PyroError["code"], work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof PyroError) || error.code !== code) throw error;
  }
}
