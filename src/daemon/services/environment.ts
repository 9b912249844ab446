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
  PullEnvironmentResponseSchema,
} from "../../protocol/gen/pyro/daemon/v1/daemon_pb.js";
import { Handoff } from "../handoff.js";

type Environment = MessageInitShape<typeof EnvironmentSchema>;
type PullResponse = MessageInitShape<typeof PullEnvironmentResponseSchema>;

export interface EnvironmentRooms {
  readonly store: EnvironmentStore;
  readonly pulls: EnvironmentPulls;
  readonly prune: (all: boolean) => Promise<PruneResult>;
}

/** The EnvironmentService: what there is, and making it present and whole. */
export function environmentService({
  store,
  pulls,
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
      const onProgress = ({
        bytesDone,
        bytesTotal,
        ...rest
      }: {
        bytesDone: number;
        bytesTotal: number;
        phase: string;
        message: string;
      }): void => {
        const value = { ...rest, bytesDone: BigInt(bytesDone), bytesTotal: BigInt(bytesTotal) };
        void events.put({ event: { case: "progress", value } });
      };
      const call = AbortSignal.any([signal, events.left]);
      pulls.pull(name, { force, signal: call, onProgress }).then(
        ({ environment, durationMs, ...rest }) => {
          const value = {
            ...rest,
            environment: toEnvironment(environment),
            durationMs: BigInt(Math.round(durationMs)),
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
