import { PyroError } from "../protocol/index.js";
import type { WorkspaceRecord } from "./record.js";

/** What is wrong with a workspace as a whole. */
export function workspaceFailed({ workspaceId, failure }: WorkspaceRecord): PyroError {
  return new PyroError(
    "WORKSPACE_FAILED",
    `workspace ${workspaceId} could not be made: ${failure?.message ?? "unknown"}`,
    {
      hint: `${failure?.hint ?? ""}${failure?.hint ? "; then " : ""}delete it and create it again`,
      details: { cause: failure },
    },
  );
}

export function stoppedByUser(id: string): PyroError {
  return new PyroError("WORKSPACE_STOPPED", `workspace ${id} is stopped`, {
    hint: `start it with \`pyro workspace start ${id}\``,
  });
}

/** A call was under way in its machine when that was stopped, suspended or reset. */
export function letGoMeanwhile(id: string, state: string): PyroError {
  const start = `start it with \`pyro workspace start ${id}\``;
  if (state === "suspended") {
    return new PyroError("WORKSPACE_STOPPED", `workspace ${id} was suspended meanwhile`, {
      hint: `${start}: what runs in it goes on then, shells and services too`,
    });
  }
  return new PyroError("WORKSPACE_STOPPED", `workspace ${id} was stopped or reset meanwhile`, {
    hint: `what ran in it has ended; ${start}`,
  });
}

export function busy(id: string, waiting: number): PyroError {
  return new PyroError(
    "WORKSPACE_BUSY",
    `${waiting} operations of workspace ${id} wait for their turn already`,
    {
      hint: "see how far they are with `pyro workspace status`, then call again",
      retryable: true,
    },
  );
}

export function lostAtOnce(id: string): PyroError {
  return new PyroError("VM_CRASHED", `the machine of workspace ${id} ended as soon as it had started`, {
    hint: "call again",
    retryable: true,
  });
}

export function goneMeanwhile(): PyroError {
  return new PyroError("VM_CRASHED", "the machine ended while no daemon ran", {
    hint: "use the workspace: it starts again",
  });
}

export function unfinished(): PyroError {
  return new PyroError("DAEMON_STOPPING", "the daemon ended while the workspace was made", {
    hint: "delete it and create it again",
  });
}

export function nothingToSuspend(id: string): PyroError {
  return new PyroError("WORKSPACE_STOPPED", `workspace ${id} is stopped: there is no memory to keep`, {
    hint: `start it with \`pyro workspace start ${id}\``,
  });
}

export function memorySpent(): PyroError {
  return new PyroError("VM_CRASHED", "the daemon ended while the workspace went on from its saved memory", {
    hint: "use the workspace: it starts again from its disk",
  });
}

/** Of what waits for something that ends with its daemon. */
export function stopping(): PyroError {
  return new PyroError("DAEMON_STOPPING", "the daemon stops", { retryable: true, hint: "call again" });
}

export function deleted(id: string): PyroError {
  return new PyroError("WORKSPACE_DELETED", `workspace ${id} was deleted`, {
    hint: "`pyro workspace list` shows those that there are",
  });
}

export function runs(id: string): PyroError {
  return new PyroError("WORKSPACE_RUNNING", `workspace ${id} runs, and its disk changes`, {
    hint: `stop it first: \`pyro workspace stop ${id}\``,
  });
}
