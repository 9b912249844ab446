import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { DiagnoseResponseSchema, DoctorService } from "../../protocol/gen/pyro/daemon/v1/doctor_pb.js";
import { diagnose, type Check, type DoctorSources, type Report } from "../doctor.js";
import { Handoff } from "../handoff.js";

type Response = MessageInitShape<typeof DiagnoseResponseSchema>;

const DEFAULT_ENVIRONMENT = "debian:12";

/** The DoctorService: each check as it is known, then the report. */
export function doctorService(sources: DoctorSources): ServiceImpl<typeof DoctorService> {
  return {
    diagnose: ({ environment }, { signal }) => {
      const events = new Handoff<Response>();
      const onCheck = (check: Check): void =>
        void events.put({ event: { case: "check", value: toWire(check) } });
      const call = AbortSignal.any([signal, events.left]);
      diagnose(environment || DEFAULT_ENVIRONMENT, sources, onCheck, call).then(
        (report) => events.end({ event: { case: "report", value: toReport(report) } }),
        (error: unknown) => events.fail(error),
      );
      return events;
    },
  };
}

function toWire(check: Check): Omit<Check, "fix"> & { fix: string[] } {
  return { ...check, fix: [...check.fix] };
}

function toReport(report: Report): Extract<Response["event"], { case: "report" }>["value"] {
  return {
    ...report,
    accelerators: [...report.accelerators],
    checks: report.checks.map(toWire),
    diskFreeBytes: BigInt(Math.round(report.diskFreeBytes)),
    memoryAvailableBytes: BigInt(Math.round(report.memoryAvailableBytes)),
  };
}
