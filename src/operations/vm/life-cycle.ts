import * as z from "zod";
import { LIMITS } from "../../protocol/index.js";
import type { VmRecord } from "../../sdk/index.js";
import { CURATED_ENVIRONMENTS, DEFAULT_ENVIRONMENT } from "../curated.js";
import { envList } from "../env/list.js";
import { field } from "../fields.js";
import { declare, defineOperation, type Declaration, type OperationContext } from "../operation.js";
import { formatCount } from "../text.js";
import { renderVm, toVmView, vmId, vmNetworkRecord, vmRecord } from "./record.js";

const FULL = ["workspace-full"] as const;
/** None of these is a command: a person has `pyro run` and workspaces. */
const COMMAND: readonly string[] = [];

const names = CURATED_ENVIRONMENTS.map(({ name }) => name).join(", ");
const oneVm = z.strictObject({ vm_id: vmId() });

/** Tells a face how far a VM is. */
const following = (
  onProgress: OperationContext["onProgress"],
): { onProgress: (record: VmRecord) => void } => ({
  onProgress: ({ operation }) =>
    onProgress?.({ message: operation?.message ?? "", fraction: operation?.progress ?? null }),
});

/** `vm_list_environments`, `listEnvironments`. */
export const vmListEnvironments = defineOperation({
  ...envList,
  name: "vm_list_environments",
  command: COMMAND,
  profiles: FULL,
  examples: [{ command: "vm_list_environments()", says: "what vm_create can begin with" }],
});

/** `vm_create`, `createVm`. */
export const vmCreate = defineOperation({
  name: "vm_create",
  command: COMMAND,
  summary: "Reserve a VM for one command; vm_start boots it",
  description: "It is deleted after its command, and when its TTL is over.",
  profiles: FULL,
  kind: "write",
  input: z.strictObject({
    environment: field.environment().default(DEFAULT_ENVIRONMENT).describe(`What the VM runs: ${names}`),
    vcpu_count: field.vcpuCount(),
    mem_mib: field.memMib(),
    ttl_seconds: field.seconds().default(600).describe("It is deleted after this long without a call"),
    network: z.boolean().default(false).describe("Let it reach what this server may reach"),
  }),
  withNetwork: ["network"],
  output: vmRecord,
  positionals: [],
  examples: [
    { command: 'vm_create(environment="debian:12", mem_mib=2048)', says: "a machine of a shape" },
    { command: 'await pyro.createVm({ environment: "debian:12" })', says: "by the SDK: createVm" },
  ],
  run: async (given, { pyro, signal, network: allowed }) => {
    const { environment, vcpu_count: vcpuCount, mem_mib: memMib, ttl_seconds: ttlSeconds } = given;
    const network = given.network && (allowed ?? true);
    return toVmView(await pyro.createVm({ environment, vcpuCount, memMib, ttlSeconds, network }, { signal }));
  },
  render: renderVm,
});

/** `vm_start`, `startVm`. */
export const vmStart = defineOperation({
  name: "vm_start",
  command: COMMAND,
  summary: "Boot a VM, over what its disk holds",
  description: "",
  profiles: FULL,
  kind: "write",
  input: oneVm,
  output: vmRecord,
  positionals: [],
  examples: [{ command: 'vm_start(vm_id="vm-4f2a")', says: "a prefix of its id will do" }],
  run: async ({ vm_id: id }, { pyro, signal, onProgress, waitMs }) =>
    toVmView(await pyro.startVm(id, { waitMs, ...following(onProgress) }, { signal })),
  render: renderVm,
});

/** `vm_exec`, `execVm`: followed as a run, which the face does in a way of its own. */
export const vmExec = declare({
  name: "vm_exec",
  command: COMMAND,
  summary: "Run one command in a VM, which is deleted then",
  description: "It is started first where it does not run.",
  profiles: FULL,
  kind: "write",
  input: z.strictObject({
    vm_id: vmId(),
    command: field
      .shellLine()
      .describe("Shell line, run by /bin/sh -lc in /workspace. Exactly one of command and argv"),
    argv: field.argv(),
    timeout_seconds: field
      .seconds()
      .default(30)
      .describe("The command and all it started are killed after this"),
  }),
  positionals: [],
  examples: [
    { command: 'vm_exec(vm_id="vm-4f2a", command="uname -a")', says: "then the VM is gone" },
    { command: 'await pyro.execVm({ vmId, argv: ["uname", "-a"] })', says: "by the SDK: execVm" },
  ],
});

/** `vm_stop`, `stopVm`. */
export const vmStop = defineOperation({
  name: "vm_stop",
  command: COMMAND,
  summary: "Stop a VM: its disk is kept until its TTL is over",
  description: "",
  profiles: FULL,
  kind: "write",
  input: oneVm,
  output: vmRecord,
  positionals: [],
  examples: [{ command: 'vm_stop(vm_id="vm-4f2a")', says: "its memory is given back" }],
  run: async ({ vm_id: id }, { pyro, signal, onProgress, waitMs }) =>
    toVmView(await pyro.stopVm(id, { waitMs, ...following(onProgress) }, { signal })),
  render: renderVm,
});

/** `vm_delete`, `deleteVm`. */
export const vmDelete = defineOperation({
  name: "vm_delete",
  command: COMMAND,
  summary: "Delete a VM and its disk",
  description: "",
  profiles: FULL,
  kind: "write",
  input: oneVm,
  output: z.object({ vm_id: z.string(), deleted: z.literal(true) }),
  positionals: [],
  examples: [{ command: 'vm_delete(vm_id="vm-4f2a")', says: "a command of it is ended" }],
  run: async ({ vm_id: id }, { pyro, signal }) => {
    const { vmId: deletedId } = await pyro.deleteVm(id, { signal });
    return { vm_id: deletedId, deleted: true as const };
  },
  render: ({ vm_id: id }) => `VM ${id} is deleted`,
});

/** `vm_status`, `statusVm`. */
export const vmStatus = defineOperation({
  name: "vm_status",
  command: COMMAND,
  summary: "Show one VM, or wait for what goes on in it",
  description: "",
  profiles: FULL,
  kind: "read",
  input: z.strictObject({
    vm_id: vmId(),
    wait_seconds: z
      .int()
      .min(0)
      .max(LIMITS.mcpBlockMs / 1000)
      .default(0)
      .describe("Wait up to this long for what goes on in it"),
  }),
  output: vmRecord,
  positionals: [],
  examples: [{ command: 'vm_status(vm_id="vm-4f2a", wait_seconds=40)', says: "until it has started" }],
  run: async ({ vm_id: id, wait_seconds: seconds }, { pyro, signal, waitMs = Infinity }) =>
    toVmView(await pyro.statusVm(id, { waitMs: Math.min(seconds * 1000, waitMs) }, { signal })),
  render: renderVm,
});

/** `vm_network_info`, `networkInfoVm`. */
export const vmNetworkInfo = defineOperation({
  name: "vm_network_info",
  command: COMMAND,
  summary: "Show a VM's network and published ports",
  description: "",
  profiles: FULL,
  kind: "read",
  input: oneVm,
  output: vmNetworkRecord,
  positionals: [],
  examples: [{ command: 'vm_network_info(vm_id="vm-4f2a")', says: "network off, no ports" }],
  run: async ({ vm_id: id }, { pyro, signal }) => {
    const { vmId: found, state, network } = await pyro.networkInfoVm(id, { signal });
    return { vm_id: found, state, network, published_ports: [] };
  },
  render: ({ vm_id: id, network }) => `${id}: network ${network ? "on" : "off"}, no published ports`,
});

/** `vm_reap_expired`, `reapExpired`. */
export const vmReapExpired = defineOperation({
  name: "vm_reap_expired",
  command: COMMAND,
  summary: "Delete the VMs past their TTL, and list those that are left",
  description: "They are deleted by themselves as well.",
  profiles: FULL,
  kind: "write",
  input: z.strictObject({}),
  output: z.object({ count: z.number(), reaped: z.array(z.string()), vms: z.array(vmRecord) }),
  positionals: [],
  examples: [{ command: "vm_reap_expired()", says: "also finds a vm_id that was forgotten" }],
  run: async (_, { pyro, signal }) => {
    const { reaped, vms } = await pyro.reapExpired({ signal });
    return { count: reaped.length, reaped: [...reaped], vms: vms.map(toVmView) };
  },
  render: ({ reaped, vms }) =>
    [
      reaped.length === 0 ? "no VM was past its TTL" : `deleted: ${reaped.join(", ")}`,
      `${formatCount(vms.length, "VM is", "VMs are")} left`,
      ...vms.map(({ vm_id: id, state, environment }) => `${id}  ${state}  ${environment}`),
    ].join("\n"),
});

/** In the order of a VM's life. */
export const VM_OPERATIONS: readonly Declaration[] = [
  vmListEnvironments,
  vmCreate,
  vmStart,
  vmExec,
  vmStop,
  vmDelete,
  vmStatus,
  vmNetworkInfo,
  vmReapExpired,
];
