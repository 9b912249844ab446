import * as z from "zod";
import type { VmRecord } from "../../sdk/index.js";
import { isolation, snakeKeys } from "../fields.js";
import { formatTable } from "../text.js";

export const vmId = (): z.ZodString =>
  z.string().min(1).max(128).describe("Id of the VM, or a unique prefix of it");

const failureRecord = z.object({ code: z.string(), message: z.string(), hint: z.string() });

const publishedPort = z.object({
  host: z.string(),
  host_port: z.number(),
  guest_port: z.number(),
  protocol: z.string(),
});

/** A VM of the low level, as section 6 of the contract names its fields. */
export const vmRecord = z.object({
  vm_id: z.string(),
  environment: z.string(),
  state: z.enum(["created", "started", "stopped"]),
  network: z.boolean(),
  published_ports: z.array(publishedPort),
  vcpu_count: z.number(),
  mem_mib: z.number(),
  isolation: isolation.nullable(),
  created_at: z.string(),
  expires_at: z.string(),
  operation: z
    .object({
      kind: z.string(),
      state: z.enum(["running", "done", "failed"]),
      message: z.string(),
      progress: z.number().nullable(),
      error: failureRecord.nullable(),
    })
    .nullable(),
  failure: failureRecord.nullable(),
});

export const vmNetworkRecord = vmRecord.pick({
  vm_id: true,
  state: true,
  network: true,
  published_ports: true,
});

export type VmView = z.output<typeof vmRecord>;

/** The SDK's record with the contract's field names. */
export function toVmView({ operation, ...record }: VmRecord): VmView {
  return vmRecord.parse({
    ...(snakeKeys(record) as object),
    operation: operation === null ? null : { ...operation, error: errorOf(operation.error) },
  });
}

function errorOf(error: { code: string; message: string; hint: string } | null): object | null {
  return error === null ? null : { code: error.code, message: error.message, hint: error.hint };
}

/** A VM for people, and for models. */
export function renderVm(view: VmView): string {
  const { operation, failure } = view;
  const going = operation?.state === "running" ? operation : null;
  return formatTable([
    ["vm", view.vm_id],
    ["state", view.state],
    ...(going === null ? [] : [["now", `still running: ${going.kind}: ${going.message}`]]),
    ...(failure === null ? [] : [["failure", `${failure.code}: ${failure.message}`]]),
    ["environment", view.environment],
    ["machine", `${view.vcpu_count} vCPU, ${view.mem_mib} MiB, network ${view.network ? "on" : "off"}`],
    ["expires", view.expires_at],
  ]);
}
