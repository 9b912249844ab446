import { PyroError } from "../protocol/index.js";

const LOST = "create another one with vm_create (createVm)";

/** What is wrong with a VM of the low level. */
export function noSuchVm(reference: string): PyroError {
  return new PyroError("VM_NOT_FOUND", `there is no VM ${JSON.stringify(reference.slice(0, 80))}`, {
    hint: `a VM is deleted after its one command, and past its TTL; ${LOST}`,
  });
}

export function severalVms(reference: string, ids: readonly string[]): PyroError {
  const shown = ids.slice(0, 10).join(", ");
  return new PyroError(
    "AMBIGUOUS_REFERENCE",
    `${JSON.stringify(reference)} fits ${ids.length} VMs: ${shown}`,
    {
      hint: "give the whole vm_id",
      details: { vm_ids: ids },
    },
  );
}

export function spentVm(id: string): PyroError {
  return new PyroError("VM_SPENT", `VM ${id} has its one command already, and is deleted when that ends`, {
    hint: LOST,
  });
}

export function lostVm(id: string): PyroError {
  return new PyroError("VM_CRASHED", `VM ${id} ended as soon as it had started`, {
    hint: LOST,
    retryable: true,
  });
}

/** The same error in words of VMs: underneath they are workspaces. */
export function asVmError(error: PyroError, id: string): PyroError {
  if (error.code === "WORKSPACE_DELETED")
    return new PyroError("VM_NOT_FOUND", `VM ${id} was deleted`, { hint: LOST });
  if (error.code === "WORKSPACE_FAILED") {
    return new PyroError("VM_START_FAILED", `VM ${id} could not be started`, {
      hint: "vm_status (statusVm) says why; start it again",
      cause: error,
    });
  }
  if (error.code !== "WORKSPACE_BUSY") return error;
  return new PyroError("VM_BUSY", `VM ${id} has too many operations waiting`, {
    hint: "see how far it is with vm_status (statusVm), then call again",
    retryable: true,
  });
}
