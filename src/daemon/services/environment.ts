import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { isAbsolute } from "node:path";
import type {
  EnvironmentPulls,
  EnvironmentPushes,
  EnvironmentStatus,
  EnvironmentStore,
  InstalledImage,
  PullOptions,
} from "../../image/index.js";
import type {
  EnvironmentSchema,
  EnvironmentService,
  PrepareResponseSchema,
  PullEnvironmentRequest,
  PullEnvironmentResponseSchema,
  PullProgressSchema,
  PushEnvironmentResponseSchema,
} from "../../protocol/gen/pyro/daemon/v1/environment_pb.js";
import { shown } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import type { TemplateReadiness } from "../../vmm/index.js";
import type { EnvironmentBuilds } from "../../build/index.js";
import type { Pruning } from "../pruning.js";
import { Handoff } from "../handoff.js";
import type { PrepareCaller, PrepareProgress, PrepareRequest, Prepared } from "../prepare.js";
import { buildCall } from "./build.js";

type Environment = MessageInitShape<typeof EnvironmentSchema>;
type Progress = MessageInitShape<typeof PullProgressSchema>;
type PrepareResponse = MessageInitShape<typeof PrepareResponseSchema>;
type PushResponse = MessageInitShape<typeof PushEnvironmentResponseSchema>;
type PullResponse = MessageInitShape<typeof PullEnvironmentResponseSchema>;

export interface EnvironmentRooms {
  readonly store: EnvironmentStore;
  readonly pulls: EnvironmentPulls;
  readonly pushes: EnvironmentPushes;
  readonly builds: EnvironmentBuilds;
  readonly prepare: (request: PrepareRequest, caller: PrepareCaller) => Promise<Prepared>;
  /** Of the template that machines of the default shape start from. */
  readonly templateReadiness: () => Promise<TemplateReadiness>;
  readonly pruning: Pick<Pruning, "prune" | "remove">;
}

/** The EnvironmentService: what there is, and making it present and whole. */
export function environmentService({
  store,
  pulls,
  pushes,
  builds,
  prepare,
  templateReadiness,
  pruning,
}: EnvironmentRooms): ServiceImpl<typeof EnvironmentService> {
  return {
    list: async () => {
      const readiness = await templateReadiness();
      const environments = (await store.list()).map((status) => toEnvironment(status, readiness));
      return { catalogVersion: store.catalogue.version, environments };
    },
    inspect: async ({ name }) => toEnvironment(await store.inspect(name), await templateReadiness()),
    pull: ({ name, force, ...archive }, { signal }) => {
      const from = archiveOf(archive);
      return told<PullResponse>(signal, async (waiter) => {
        const pulled = await pulls.pull(name, { force, ...from, ...waiter });
        const { environment, durationMs, ...rest } = pulled;
        const made = toEnvironment(environment, await templateReadiness());
        return { ...rest, environment: made, durationMs: wholeMs(durationMs) };
      });
    },
    push: ({ name, reference }, { signal }) =>
      told<PushResponse>(signal, async (waiter) => {
        const pushed = await pushes.push(name, reference, waiter);
        const { sizeBytes, uploadedBytes, isSameImage, leftOut, durationMs, ...rest } = pushed;
        return {
          ...{ ...rest, sameImage: isSameImage, leftOut: BigInt(leftOut) },
          ...{ sizeBytes: BigInt(sizeBytes), uploadedBytes: BigInt(uploadedBytes) },
          durationMs: wholeMs(durationMs),
        };
      }),
    prepare: ({ environment, force }, { signal }) =>
      told<PrepareResponse>(signal, async (waiter) => {
        const { steps, durationMs, ...rest } = await prepare({ environment, force }, waiter);
        return {
          ...rest,
          steps: steps.map((step) => ({ ...step, durationMs: wholeMs(step.durationMs) })),
          durationMs: wholeMs(durationMs),
        };
      }),
    build: buildCall(builds, async (status) => toEnvironment(status, await templateReadiness())),
    prune: async ({ all, unused, olderThanSeconds, dryRun }) => {
      const { removed, freedBytes } = await pruning.prune({
        ...{ unused: all || unused || olderThanSeconds > 0n, dryRun },
        ...(olderThanSeconds === 0n ? {} : { usedBeforeMs: Date.now() - Number(olderThanSeconds) * 1000 }),
      });
      return { removed: [...removed], freedBytes: BigInt(freedBytes) };
    },
    delete: async ({ name }) => {
      const { freedBytes, ...rest } = await pruning.remove(name);
      return { ...rest, freedBytes: BigInt(freedBytes) };
    },
  };
}

/** The value of a response's case "result". */
type ResultOf<T> = T extends { event?: infer E }
  ? E extends { case: "result"; value: infer V }
    ? V
    : never
  : never;
type Waiter = { readonly signal: AbortSignal; readonly onProgress: (progress: PrepareProgress) => void };

/** A call that tells how far it is and then gives its result; it ends when nobody listens any more. */
function told<T extends PullResponse | PushResponse | PrepareResponse>(
  signal: AbortSignal,
  work: (waiter: Waiter) => Promise<ResultOf<T>>,
): Handoff<T> {
  const events = new Handoff<T>();
  const onProgress = (progress: PrepareProgress): void =>
    void events.put({ event: { case: "progress", value: toProgress(progress) } } as T);
  work({ signal: AbortSignal.any([signal, events.left]), onProgress }).then(
    (value) => events.end({ event: { case: "result", value } } as T),
    (error: unknown) => events.fail(error),
  );
  return events;
}

/** @throws {PyroError} INVALID_ARGUMENT */
function archiveOf({
  fromPath: path,
  fromImage: image,
}: Pick<PullEnvironmentRequest, "fromPath" | "fromImage">): {
  readonly from?: NonNullable<PullOptions["from"]>;
} {
  if (path === "") {
    if (image === "") return {};
    throw new PyroError("INVALID_ARGUMENT", "an image of an archive is named, and no archive", {
      hint: "name the file too: --from FILE",
    });
  }
  if (isAbsolute(path)) return { from: { path, ...(image === "" ? {} : { image }) } };
  throw new PyroError("INVALID_ARGUMENT", `the host path ${shown(path)} is not absolute`, {
    hint: "give it from / on: the daemon has a directory of its own",
  });
}

function toProgress({ bytesDone, bytesTotal, ...rest }: PrepareProgress): Progress {
  return { ...rest, bytesDone: BigInt(bytesDone), bytesTotal: BigInt(bytesTotal) };
}

function wholeMs(ms: number): bigint {
  return BigInt(Math.round(ms));
}

function toEnvironment(status: EnvironmentStatus, template: TemplateReadiness): Environment {
  const { name, description, source, downloadBytes, state, image } = status;
  return {
    name,
    description,
    source,
    downloadBytes: BigInt(downloadBytes),
    installed: state === "installed",
    template: readinessOf(state, template),
    ...(image === undefined
      ? {}
      : {
          digest: image.digest,
          sizeBytes: BigInt(image.sizeBytes),
          createdAtMs: BigInt(image.createdAtMs),
          imagePath: image.path,
          packages: [...image.packages],
          sharedSizeBytes: BigInt(image.sharedBytes),
          lastUsedAtMs: BigInt(image.lastUsedAtMs ?? 0),
          recipe: image.recipe,
          ...howItWasMade(image),
        }),
  };
}

/** What only some of them have. */
function howItWasMade({ origin, config, savedFrom }: InstalledImage): Environment {
  return {
    ...(savedFrom === undefined ? {} : { savedFrom }),
    ...(origin === undefined
      ? {}
      : {
          origin: {
            ...{ reference: origin.reference, manifestDigest: origin.manifest_digest },
            layers: origin.layers.map(({ digest, size_bytes: bytes }) => ({
              digest,
              sizeBytes: BigInt(bytes),
            })),
          },
        }),
    ...(config === undefined
      ? {}
      : {
          config: {
            ...{ user: config.user, workingDir: config.workingDir, env: [...config.env] },
            ...{ entrypoint: [...config.entrypoint], cmd: [...config.cmd] },
          },
        }),
  };
}

/** One template serves all environments of a shape; without its image an environment is not ready all the same. */
export function readinessOf(
  state: EnvironmentStatus["state"],
  template: TemplateReadiness,
): TemplateReadiness {
  if (state === "damaged") return "stale";
  return state === "absent" ? "cold" : template;
}
