import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { CreateVmRequest, VmSchema, VmService } from "../../protocol/gen/pyro/daemon/v1/vm_pb.js";
import { DEFAULT_MACHINE, LIMITS, PyroError } from "../../protocol/index.js";
import {
  asVmError,
  vmStateOf,
  type NewVm,
  type Operation,
  type Vms,
  type Workspace,
} from "../../workspace/index.js";
import { errorDetail } from "../wire-error.js";
import { bounded } from "./bounded.js";
import { toPolicy } from "./network.js";
import { record } from "./run.js";
import { waitOf } from "./workspace-view.js";

/** Life of a VM where the caller says none. */
const DEFAULT_TTL_SECONDS = 600;

/** The VmService. */
export function vmService(vms: Vms): ServiceImpl<typeof VmService> {
  /** Waits for an operation of this call; its error is this call's, if it comes in time. */
  const finish = async (
    vm: Workspace,
    operation: Operation<void>,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<MessageInitShape<typeof VmSchema>> => {
    await operation.settle(waitOf(waitMs), signal);
    if (!operation.isRunning)
      await operation.result.catch((error: unknown) => {
        throw asVmError(PyroError.from(error), vm.id);
      });
    return toVm(vm);
  };
  return {
    create: async (request) => toVm(await vms.create(toNew(request))),
    start: async ({ vm: reference, waitMs }, { signal }) => {
      const vm = vms.find(reference);
      return await finish(vm, vms.start(vm), waitMs, signal);
    },
    stop: async ({ vm: reference, waitMs }, { signal }) => {
      const vm = vms.find(reference);
      return await finish(vm, vms.stop(vm), waitMs, signal);
    },
    status: async ({ vm: reference, waitMs }, { signal }) => {
      const vm = vms.find(reference);
      await vm.settle(waitOf(waitMs), signal);
      return toVm(vm);
    },
    delete: async ({ vm: reference }) => {
      const vm = vms.find(reference);
      await vms.delete(vm);
      return { vmId: vm.id };
    },
    exec: async ({ vm, argv, command, env, timeoutMs }) =>
      record(await vms.exec(vms.find(vm), { argv, command, env, timeoutMs: timeoutMs || undefined })),
    reapExpired: async () => ({
      reaped: [...(await vms.reapExpired())],
      vms: vms.kept.all.map(toVm),
    }),
  };
}

/** @throws {PyroError} INVALID_ARGUMENT */
function toNew({ environment, vcpuCount, memMib, ttlSeconds, network }: CreateVmRequest): NewVm {
  if (environment === "") {
    throw new PyroError("INVALID_ARGUMENT", "no environment is given", {
      hint: "`pyro env list` shows them",
    });
  }
  const { vcpuCount: vcpus, memMib: memory } = DEFAULT_MACHINE;
  return {
    ...{ environment, network: toPolicy(network) },
    vcpuCount: bounded("vcpu_count", vcpuCount || vcpus, 1, LIMITS.vcpuCountMax),
    memMib: bounded("mem_mib", memMib || memory, LIMITS.memMibMin, LIMITS.memMibMax),
    ttlSeconds: bounded("ttl_seconds", ttlSeconds || DEFAULT_TTL_SECONDS, 1, LIMITS.longestSeconds),
  };
}

/** A VM as the wire carries it. */
function toVm(vm: Workspace): MessageInitShape<typeof VmSchema> {
  const { record: kept, operation } = vm;
  const { environment, vcpuCount, memMib, isolation, failure } = kept;
  return {
    ...{ vmId: vm.id, environment, state: vmStateOf(vm), vcpuCount, memMib, isolation: isolation ?? "" },
    network: kept.network.mode !== "off",
    createdAtMs: BigInt(kept.createdAtMs),
    expiresAtMs: BigInt(vm.expiresAtMs),
    ...(operation === undefined
      ? {}
      : {
          operation: {
            // Making it is what its first start is.
            kind: operation.kind === "create" ? "start" : operation.kind,
            ...{ state: operation.state, message: operation.message, progress: operation.progress ?? -1 },
            ...(operation.error === undefined ? {} : { error: errorDetail(operation.error) }),
          },
        }),
    ...(failure === null ? {} : { failure }),
  };
}
