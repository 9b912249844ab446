import type { CommandResult as WireResult } from "../protocol/gen/pyro/daemon/v1/command_pb.js";

/** How a command ended: exactly one of `exitCode` and `signal` is set, unless it timed out before either. */
export interface CommandOutcome {
  readonly environment: string;
  /** 0 to 255, or null when a signal ended the command. */
  readonly exitCode: number | null;
  /** For example "SIGKILL", or null. */
  readonly signal: string | null;
  readonly timedOut: boolean;
  /** The guest's kernel ended it for want of memory. */
  readonly outOfMemory: boolean;
  /** The command alone, in milliseconds. */
  readonly durationMs: number;
  /** Queue, boot and mount of the VM, in milliseconds. */
  readonly startupMs: number;
  /** Always the virtual machine; nothing of pyro runs commands on the host. */
  readonly executionMode: "guest";
  readonly isolation: Isolation;
  readonly guestKernel: string;
  /** All bytes that the command wrote, also those that were cut. */
  readonly stdoutBytes: number;
  readonly stderrBytes: number;
}

/** Hardware virtualization, or QEMU's emulation, for which QEMU gives no security promise. */
export type Isolation = "kvm" | "software";

/** A command's outcome with its collected output. */
export interface CommandResult extends CommandOutcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutTruncated: boolean;
  readonly stderrTruncated: boolean;
}

/** The outcome as the daemon sent it. */
export function toOutcome(result: WireResult): CommandOutcome {
  return {
    environment: result.environment,
    exitCode: result.exitCode ?? null,
    signal: result.signal === "" ? null : result.signal,
    timedOut: result.timedOut,
    outOfMemory: result.outOfMemory,
    durationMs: toMilliseconds(result.durationUs),
    startupMs: toMilliseconds(result.startupUs),
    executionMode: "guest",
    isolation: toIsolation(result.isolation),
    guestKernel: result.guestKernel,
    stdoutBytes: Number(result.stdoutBytes),
    stderrBytes: Number(result.stderrBytes),
  };
}

/** Anything but a clear "kvm" counts as emulation: the weaker promise. */
export function toIsolation(value: string): Isolation {
  return value === "kvm" ? "kvm" : "software";
}

function toMilliseconds(microseconds: bigint): number {
  return Math.round(Number(microseconds) / 1000);
}
