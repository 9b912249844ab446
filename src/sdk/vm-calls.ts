import { LIMITS, PyroError } from "../protocol/index.js";
import type { Vm as WireVm } from "../protocol/gen/pyro/daemon/v1/vm_pb.js";
import { callScope, type CallOptions } from "./call.js";
import type { ServiceClient } from "./services.js";
import { toCommandWords, type RunInVmOptions } from "./run-options.js";
import { toRecord, type RunRecord, type StreamWindow } from "./run-record.js";
import { toWorkspacesUsage, type WorkspacesUsage } from "./top.js";
import {
  toVmRecord,
  type ReapedVms,
  type VmCommandResult,
  type VmNetworkInfo,
  type VmRecord,
} from "./vm-record.js";
import { networkRulesOf } from "./network-record.js";
import { NetworkCalls } from "./network-calls.js";

/** A VM of the low level. */
export type CreateVmOptions = Pick<
  RunInVmOptions,
  "environment" | "vcpuCount" | "memMib" | "ttlSeconds" | "network"
>;

/** Its one command. */
export interface ExecVmOptions extends Pick<RunInVmOptions, "command" | "argv" | "env"> {
  readonly vmId: string;
  /** Default 30; the VM's own TTL bounds it as well. */
  readonly timeoutSeconds?: number | undefined;
}

/** How long a call that starts something waits for it. */
export interface VmWaitOptions {
  /** Default: until it is done; otherwise the record's `operation` says how far it is, and `statusVm` waits. */
  readonly waitMs?: number | undefined;
  readonly onProgress?: ((record: VmRecord) => void) | undefined;
}

type Begin = (vm: ServiceClient<"vm">, waitMs: number, signal: AbortSignal) => Promise<WireVm>;

const EXEC_SECONDS = 30;
/** How long one look waits, where progress is followed. */
const LOOK_MS = 500;
const FOLLOW_MS = 2_500;
const CANCEL_MS = 5_000;
/** Kept of each stream of the command. */
const OUTPUT_BYTES = 65_536;

/** The low level: one VM at a time, each for one command. Wherever a VM is named, a unique prefix of its id does. */
export abstract class VmCalls extends NetworkCalls {
  /**
   * Reserves a VM; `startVm` boots it.
   * @throws {PyroError} UNKNOWN_ENVIRONMENT, INVALID_NETWORK_POLICY, INVALID_ARGUMENT
   */
  async createVm(options: CreateVmOptions, call: CallOptions = {}): Promise<VmRecord> {
    const { environment, vcpuCount = 0, memMib = 0, ttlSeconds = 0 } = options;
    const request = { environment, vcpuCount, memMib, ttlSeconds, ...networkRulesOf(options.network) };
    return await this.client.call("vm", "creating the VM", call, async (vm, { signal }) =>
      toVmRecord(await vm.create(request, { signal })),
    );
  }

  /** Boots it; pulls its environment first where that is missing. One that runs already stays as it is. */
  async startVm(vmId: string, options: VmWaitOptions = {}, call: CallOptions = {}): Promise<VmRecord> {
    return await this.#follow("starting the VM", options, call, (vm, waitMs, signal) =>
      vm.start({ vm: vmId, waitMs }, { signal }),
    );
  }

  /** Flushes its disk and powers off; `startVm` goes on from that disk. */
  async stopVm(vmId: string, options: VmWaitOptions = {}, call: CallOptions = {}): Promise<VmRecord> {
    return await this.#follow("stopping the VM", options, call, (vm, waitMs, signal) =>
      vm.stop({ vm: vmId, waitMs }, { signal }),
    );
  }

  /** As it is now; waits up to `waitMs` for what goes on in it. */
  async statusVm(
    vmId: string,
    options: Pick<VmWaitOptions, "waitMs"> = {},
    call: CallOptions = {},
  ): Promise<VmRecord> {
    return await this.client.call("vm", "asking for the VM", call, async (vm, { signal }) =>
      toVmRecord(await vm.status({ vm: vmId, waitMs: options.waitMs ?? 0 }, { signal })),
    );
  }

  /** Its network. */
  async networkInfoVm(vmId: string, call: CallOptions = {}): Promise<VmNetworkInfo> {
    const { vmId: id, state, network, publishedPorts } = await this.statusVm(vmId, {}, call);
    return { vmId: id, state, network, publishedPorts };
  }

  /** Ends it and removes its disk. */
  async deleteVm(vmId: string, call: CallOptions = {}): Promise<{ readonly vmId: string }> {
    return await this.client.call("vm", "deleting the VM", call, async (vm, { signal }) => ({
      vmId: (await vm.delete({ vm: vmId }, { signal })).vmId,
    }));
  }

  /** Deletes the VMs past their TTL now, which the daemon does by itself as well; also gives those that are left. */
  async reapExpired(call: CallOptions = {}): Promise<ReapedVms> {
    return await this.client.call("vm", "reaping the VMs", call, async (vm, { signal }) => {
      const { reaped, vms } = await vm.reapExpired({}, { signal });
      return { reaped: [...reaped], vms: vms.map(toVmRecord) };
    });
  }

  /**
   * Runs one command in it, which deletes it; starts it where it does not run. Of each stream 64 KiB are kept, head and
   * tail half each. When this call is aborted, command and VM are ended.
   */
  async execVm(options: ExecVmOptions, call: CallOptions = {}): Promise<VmCommandResult> {
    using scope = callScope("the command", call);
    const { signal } = scope;
    let runId: string | undefined;
    try {
      signal.throwIfAborted();
      // Without the signal: a command whose run nobody learns could not be ended.
      ({ runId } = await this.startExecVm(options, { timeoutMs: call.timeoutMs }));
      for (;;) {
        const record = await this.#readRun(runId, FOLLOW_MS, { signal });
        if (record.state === "failed") throw record.error;
        if (record.state === "done") return toResult(options.vmId, record);
      }
    } catch (error) {
      if (signal.aborted && runId !== undefined) await this.#cancelRun(runId).catch(() => undefined);
      throw scope.error(error);
    }
  }

  /** The same without waiting: `readRun` follows it. */
  async startExecVm(options: ExecVmOptions, call: CallOptions = {}): Promise<RunRecord> {
    const { vmId, timeoutSeconds = EXEC_SECONDS } = options;
    const isWhole = Number.isInteger(timeoutSeconds);
    if (!isWhole || timeoutSeconds < 1 || timeoutSeconds > LIMITS.longestSeconds) {
      throw new PyroError("INVALID_ARGUMENT", `timeoutSeconds: is ${timeoutSeconds}`, {
        hint: `give a whole number from 1 to ${LIMITS.longestSeconds}`,
      });
    }
    const request = { vm: vmId, ...toCommandWords(options), timeoutMs: timeoutSeconds * 1000 };
    return await this.client.call("vm", "starting the command", call, async (vm, { signal }) =>
      toRecord(await vm.exec(request, { signal })),
    );
  }

  /** What all workspaces cost the host now, in one call that waits for none of them. */
  async topWorkspaces(call: CallOptions = {}): Promise<WorkspacesUsage> {
    return await this.client.call("top", "looking at the workspaces", call, async (top, { signal }) =>
      toWorkspacesUsage(await top.look({}, { signal })),
    );
  }

  async #readRun(runId: string, waitMs: number, call: CallOptions): Promise<RunRecord> {
    return await this.client.call("run", "reading the command", call, async (run, { signal }) =>
      toRecord(await run.readRun({ runId, offset: 0n, maxBytes: OUTPUT_BYTES, waitMs }, { signal })),
    );
  }

  async #cancelRun(runId: string): Promise<void> {
    await this.client.call("run", "ending the command", { timeoutMs: CANCEL_MS }, async (run, { signal }) => {
      await run.cancelRun({ runId }, { signal });
    });
  }

  async #follow(
    what: string,
    { waitMs = Number.POSITIVE_INFINITY, onProgress }: VmWaitOptions,
    call: CallOptions,
    begin: Begin,
  ): Promise<VmRecord> {
    const deadline = performance.now() + waitMs;
    const next = (): number => Math.round(Math.max(0, Math.min(LOOK_MS, deadline - performance.now())));
    let record = await this.client.call("vm", what, call, async (vm, { signal }) =>
      toVmRecord(await begin(vm, next(), signal)),
    );
    while (record.operation?.state === "running" && performance.now() < deadline) {
      onProgress?.(record);
      record = await this.statusVm(record.vmId, { waitMs: next() }, call);
    }
    const { operation } = record;
    if (operation?.state === "failed" && operation.error !== null) throw operation.error;
    return record;
  }
}

function toResult(vmId: string, record: RunRecord & { readonly state: "done" }): VmCommandResult {
  const { result, output, runId } = record;
  const text = (stream: StreamWindow | undefined): string => Buffer.from(stream?.data ?? []).toString("utf8");
  return {
    ...result,
    ...{ vmId, runId, stdout: text(output?.stdout), stderr: text(output?.stderr) },
    stdoutTruncated: output?.stdout.truncated ?? false,
    stderrTruncated: output?.stderr.truncated ?? false,
  };
}
