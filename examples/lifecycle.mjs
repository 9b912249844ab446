// A virtual machine step by step: created, started, asked for, given its one command. `execVm` ends the machine with the
// command; for many commands take a workspace (workspace.mjs).
import { Pyro } from "pyro-mcp";

const pyro = new Pyro({ stateDir: process.env.PYRO_STATE_DIR });
try {
  const { vmId } = await pyro.createVm({ environment: "debian:12", memMib: 512, ttlSeconds: 300 });
  try {
    await pyro.startVm(vmId);
    const { state, isolation } = await pyro.statusVm(vmId);
    console.log(`state ${state}, isolation ${isolation}`);
    const { exitCode, stdout } = await pyro.execVm({ vmId, argv: ["git", "--version"] });
    console.log(`exit ${exitCode}: ${stdout.trim()}`);
  } finally {
    // Only of one that never came to its command is anything left.
    await pyro.deleteVm(vmId).catch((error) => {
      if (error.code !== "VM_NOT_FOUND") throw error;
    });
  }
  const { vms } = await pyro.reapExpired();
  console.log(`${vms.length} VMs left`);
} finally {
  await pyro[Symbol.asyncDispose]();
}
