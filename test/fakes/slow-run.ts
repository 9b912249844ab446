import { RunState } from "../../src/protocol/gen/pyro/daemon/v1/run_pb.js";
import type { FakeScript } from "./fake-daemon.js";

/** A run that goes on for `reads` looks, then ends; `cancelled` has the ids of those that were ended. */
export function slowRun(reads: number, phase = "running"): { script: FakeScript; cancelled: string[] } {
  const cancelled: string[] = [];
  const runId = "run-0123456789abcdef";
  let left = reads;
  const going = { runId, state: RunState.RUNNING, phase: { phase, message: `${phase} it`, progress: 0.43 } };
  return {
    cancelled,
    script: {
      run: {
        startRun: () => going,
        readRun: async ({ waitMs }) => {
          await new Promise((resolve) => setTimeout(resolve, Math.min(waitMs, 20)));
          if (left-- > 0) return going;
          return {
            runId,
            state: RunState.DONE,
            result: { environment: "debian:12", exitCode: 0, isolation: "kvm" },
          };
        },
        cancelRun: ({ runId: id }) => {
          cancelled.push(id);
          return { runId: id, state: RunState.DONE };
        },
      },
    },
  };
}
