import type { PrepareResponse } from "../protocol/gen/pyro/daemon/v1/environment_pb.js";
import { resultOf } from "./result-stream.js";
import { toPullProgress, type PullProgress } from "./environments.js";

export interface PrepareOptions {
  /** For example "debian:12", the default. */
  readonly environment?: string | undefined;
  /** A network needs nothing that is made ahead of time. */
  readonly network?: boolean | undefined;
  /** Makes the memory template anew even when a good one stands; default false. */
  readonly force?: boolean | undefined;
  /** How far the environment is; then phase "template". */
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/** One thing that a machine needs: "environment" or "template". */
export interface PrepareStep {
  readonly name: string;
  /** Whether it was there. */
  readonly what: "reused" | "made";
  readonly durationMs: number;
}

export interface PrepareResult {
  readonly environment: string;
  /** Nothing had to be made. */
  readonly reused: boolean;
  readonly steps: readonly PrepareStep[];
  readonly durationMs: number;
}

/** Follows a preparation to its result. */
export async function followPrepare(
  responses: AsyncIterable<PrepareResponse>,
  onProgress: ((progress: PullProgress) => void) | undefined,
): Promise<PrepareResult> {
  return await resultOf("the preparation", responses, ({ event }): PrepareResult | undefined => {
    if (event.case === "progress") onProgress?.(toPullProgress(event.value));
    if (event.case !== "result") return undefined;
    const { environment, reused, steps, durationMs } = event.value;
    return {
      ...{ environment, reused, durationMs: Number(durationMs) },
      steps: steps.map(({ name, what, durationMs: stepMs }) => ({
        ...{ name, what: what === "reused" ? "reused" : "made" },
        durationMs: Number(stepMs),
      })),
    };
  });
}
