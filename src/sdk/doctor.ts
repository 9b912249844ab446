import type {
  Check,
  DiagnoseResponse,
  DoctorReport as WireReport,
} from "../protocol/gen/pyro/daemon/v1/doctor_pb.js";
import { resultOf } from "./result-stream.js";
import { toReadiness, type Readiness } from "./environments.js";

/** One thing that was proven, or needs mending. */
export interface DoctorCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly message: string;
  /** What to do; empty when there is nothing to do. */
  readonly hint: string;
  /** The command that mends it, as an argv; empty when there is none. */
  readonly fix: readonly string[];
}

export interface AcceleratorReport {
  readonly name: string;
  readonly usable: boolean;
  /** Why not, or what its probe VM did. */
  readonly reason: string;
  /** Of its probe VM, in milliseconds; null when none booted. */
  readonly bootMs: number | null;
  readonly chosen: boolean;
}

/** What `doctor` found out about this host. */
export interface DoctorReport {
  readonly ok: boolean;
  readonly platform: string;
  readonly accelerators: readonly AcceleratorReport[];
  readonly kvm: { readonly usable: boolean; readonly reason: string };
  readonly runtime: { readonly version: string; readonly qemuVersion: string };
  readonly disk: { readonly freeBytes: number };
  readonly memory: { readonly availableBytes: number };
  readonly environment: { readonly name: string; readonly readiness: Readiness };
  readonly checks: readonly DoctorCheck[];
}

/** Follows a diagnosis to its report. */
export async function followDiagnosis(
  responses: AsyncIterable<DiagnoseResponse>,
  onCheck: ((check: DoctorCheck) => void) | undefined,
): Promise<DoctorReport> {
  return await resultOf("the diagnosis", responses, ({ event }) => {
    if (event.case === "check") onCheck?.(toCheck(event.value));
    return event.case === "report" ? toReport(event.value) : undefined;
  });
}

function toCheck({ name, ok, message, hint, fix }: Check): DoctorCheck {
  return { name, ok, message, hint, fix: [...fix] };
}

function toReport(report: WireReport): DoctorReport {
  const accelerators = report.accelerators.map(({ name, usable, reason, bootMs, chosen }) => ({
    name,
    usable,
    reason,
    bootMs: bootMs === 0 ? null : bootMs,
    chosen,
  }));
  const kvm = accelerators.find(({ name }) => name === "kvm");
  return {
    ok: report.ok,
    platform: report.platform,
    accelerators,
    kvm: { usable: kvm?.usable ?? false, reason: kvm?.reason ?? "it was not probed" },
    runtime: { version: report.runtimeVersion, qemuVersion: report.qemuVersion },
    disk: { freeBytes: Number(report.diskFreeBytes) },
    memory: { availableBytes: Number(report.memoryAvailableBytes) },
    environment: { name: report.environment, readiness: toReadiness(report.readiness) },
    checks: report.checks.map(toCheck),
  };
}
