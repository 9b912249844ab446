import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type {
  EnvironmentPulls,
  EnvironmentStatus,
  EnvironmentStore,
  PruneResult,
} from "../../image/index.js";
import type {
  EnvironmentSchema,
  EnvironmentService,
  PrepareResponseSchema,
  PullEnvironmentResponseSchema,
  PullProgressSchema,
} from "../../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { Handoff } from "../handoff.js";
import type { PrepareCaller, PrepareProgress, PrepareRequest, Prepared } from "../prepare.js";

type Environment = MessageInitShape<typeof EnvironmentSchema>;
type Progress = MessageInitShape<typeof PullProgressSchema>;
type PrepareResponse = MessageInitShape<typeof PrepareResponseSchema>;
type PullResponse = MessageInitShape<typeof PullEnvironmentResponseSchema>;

export interface EnvironmentRooms {
  readonly store: EnvironmentStore;
  readonly pulls: EnvironmentPulls;
  readonly prepare: (request: PrepareRequest, caller: PrepareCaller) => Promise<Prepared>;
  readonly prune: (all: boolean) => Promise<PruneResult>;
}

/** The EnvironmentService: what there is, and making it present and whole. */
export function environmentService({
  store,
  pulls,
  prepare,
  prune,
}: EnvironmentRooms): ServiceImpl<typeof EnvironmentService> {
  return {
    list: async () => ({
      catalogVersion: store.catalogue.version,
      environments: (await store.list()).map(toEnvironment),
    }),
    inspect: async ({ name }) => toEnvironment(await store.inspect(name)),
    pull: ({ name, force }, { signal }) => {
      const events = new Handoff<PullResponse>();
      const onProgress = (progress: PrepareProgress): void =>
        void events.put({ event: { case: "progress", value: toProgress(progress) } });
      const call = AbortSignal.any([signal, events.left]);
      pulls.pull(name, { force, signal: call, onProgress }).then(
        ({ environment, durationMs, ...rest }) => {
          const value = {
            ...rest,
            environment: toEnvironment(environment),
            durationMs: wholeMs(durationMs),
          };
          events.end({ event: { case: "result", value } });
        },
        (error: unknown) => events.fail(error),
      );
      return events;
    },
    prepare: ({ environment, network, force }, { signal }) => {
      const events = new Handoff<PrepareResponse>();
      const onProgress = (progress: PrepareProgress): void =>
        void events.put({ event: { case: "progress", value: toProgress(progress) } });
      const call = AbortSignal.any([signal, events.left]);
      prepare({ environment, network, force }, { signal: call, onProgress }).then(
        ({ steps, durationMs, ...rest }) => {
          const value = {
            ...rest,
            steps: steps.map((step) => ({ ...step, durationMs: wholeMs(step.durationMs) })),
            durationMs: wholeMs(durationMs),
          };
          events.end({ event: { case: "result", value } });
        },
        (error: unknown) => events.fail(error),
      );
      return events;
    },
    prune: async ({ all }) => {
      const { removed, freedBytes } = await prune(all);
      return { removed: [...removed], freedBytes: BigInt(freedBytes) };
    },
  };
}

function toProgress({ bytesDone, bytesTotal, ...rest }: PrepareProgress): Progress {
  return { ...rest, bytesDone: BigInt(bytesDone), bytesTotal: BigInt(bytesTotal) };
}

function wholeMs(ms: number): bigint {
  return BigInt(Math.round(ms));
}

function toEnvironment({
  name,
  description,
  source,
  downloadBytes,
  state,
  image,
}: EnvironmentStatus): Environment {
  return {
    name,
    description,
    source,
    downloadBytes: BigInt(downloadBytes),
    installed: state === "installed",
    // A memory template makes an environment "warm"; this version makes none.
    template: state === "damaged" ? "stale" : "cold",
    ...(image === undefined
      ? {}
      : {
          digest: image.digest,
          sizeBytes: BigInt(image.sizeBytes),
          createdAtMs: BigInt(image.createdAtMs),
          imagePath: image.path,
          packages: [...image.packages],
        }),
  };
}
