import { sleep, type Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";
import type { Machine } from "../vmm/index.js";
import type { Hindrance } from "../workspace/index.js";

/** What of a machine's states holds it up. */
const HINDRANCES: Readonly<Record<string, Hindrance>> = {
  "io-error": "host disk full",
  unresponsive: "hangs",
};

/** How often a running machine is looked at, and how many silent looks in a row mean that it hangs. */
const LOOK_MS = 2_000;
const SILENT_LOOKS = 4;

/**
 * Resolves when the machine ended by itself or hangs, with the reason; never when `over` aborts first. A machine that
 * QEMU paused for a full host disk is continued until its writes succeed: the guest sees no error (qemu pauses on
 * ENOSPC, `werror=enospc`). Tells at each look what holds it up.
 */
export function watchMachine(
  machine: Machine,
  over: AbortSignal,
  log: Logger,
  onLook: (hindrance: Hindrance | undefined) => void = () => undefined,
): Promise<PyroError> {
  return new Promise((resolve) => {
    void machine.exited.then(async (exit) => {
      if (!over.aborted) resolve(await endedByItself(machine, exit));
    });
    look(machine, over, log, onLook).then(
      (reason) => resolve(reason),
      () => undefined,
    );
  });
}

/** The error of a call that got no answer in time: where the host's disk holds the machine up, that is why. */
export function heldUp(error: unknown, hindrance: Hindrance | undefined): unknown {
  const isLate = error instanceof PyroError && error.code === "DEADLINE_EXCEEDED";
  if (!isLate || hindrance !== "host disk full") return error;
  return new PyroError("DISK_FULL", "the host's disk is full, and the machine waits to write to it", {
    hint: "free some space (`pyro env prune` removes what nothing uses), then try again",
    retryable: true,
    cause: error,
  });
}

/** The error of a machine whose port broke while pyro prepared it: nobody can connect to that again. */
export function lostWhilePrepared(error: unknown): unknown {
  if (!(error instanceof PyroError) || error.code !== "GUEST_DISCONNECTED") return error;
  return new PyroError("VM_CRASHED", `the machine was lost while it was made ready: ${error.message}`, {
    hint: "try again; if it stays, `pyro doctor` examines this host",
    retryable: true,
    cause: error,
  });
}

async function look(
  machine: Machine,
  over: AbortSignal,
  log: Logger,
  onLook: (hindrance: Hindrance | undefined) => void,
): Promise<PyroError> {
  for (let silent = 0; silent < SILENT_LOOKS;) {
    await sleep(LOOK_MS, over);
    const status = await machine.status();
    silent = status === "unresponsive" ? silent + 1 : 0;
    onLook(HINDRANCES[status]);
    if (status === "io-error") {
      log.warn("machine.disk-full", { machine: machine.id });
      await machine.resume().catch(() => undefined);
    }
  }
  return new PyroError("VM_UNRESPONSIVE", "the machine hangs: QEMU has not answered for a while", {
    hint: "was its process stopped, or is the host overloaded? try again",
    retryable: true,
  });
}

async function endedByItself(
  machine: Machine,
  exit: { code: number | null; signal: string | null },
): Promise<PyroError> {
  const { consoleTail, stderrTail } = await machine.diagnostics();
  const how = exit.signal ?? `exit ${exit.code ?? "unknown"}`;
  return new PyroError("VM_CRASHED", `the machine ended by itself (${how})`, {
    hint: "try again; if it stays, `pyro doctor` examines this host",
    details: { console_tail: consoleTail, stderr_tail: stderrTail },
    retryable: true,
  });
}
