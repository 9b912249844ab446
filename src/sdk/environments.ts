import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  Environment as WireEnvironment,
  EnvironmentConfig as WireConfig,
  PullEnvironmentRequestSchema,
  PullEnvironmentResponse,
  PullProgress as WirePullProgress,
  PushEnvironmentResponse,
} from "../protocol/gen/pyro/daemon/v1/environment_pb.js";
import { resultOf } from "./result-stream.js";
import { requireAbsolute } from "./workspace-source.js";

/** How ready the host is to start machines of an environment: "warm" starts at once. */
export type Readiness = "cold" | "warm" | "stale";

/** One entry of the catalogue. */
export interface EnvironmentSummary {
  readonly name: string;
  readonly description: string;
  /** On this host, ready to run. */
  readonly installed: boolean;
  readonly source: string;
  /** "sha256:…" of the image, or null while it is not installed. */
  readonly digest: string | null;
  /** Bytes on disk. */
  readonly sizeBytes: number;
  /** About what a pull fetches. */
  readonly downloadBytes: number;
  readonly template: Readiness;
  /** Of its bytes, those that other environments of this host have too. */
  readonly sharedSizeBytes: number;
  /** ISO 8601, or null where it was never used. */
  readonly lastUsedAt: string | null;
}

/** What holds for commands in an environment that say nothing else, from its image. */
export interface EnvironmentConfig {
  /** "NAME=value" */
  readonly env: readonly string[];
  readonly user: string;
  readonly workingDir: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
}

/** What an environment of a registry or an archive was made of. */
export interface EnvironmentOrigin {
  readonly reference: string;
  readonly manifestDigest: string;
  /** `sizeBytes` as the registry stores them. */
  readonly layers: readonly { readonly digest: string; readonly sizeBytes: number }[];
}

/** All that is known about one environment. */
export interface EnvironmentDetails extends EnvironmentSummary {
  readonly packages: readonly { readonly name: string; readonly version: string }[];
  /** ISO 8601, or null while it is not installed. */
  readonly createdAt: string | null;
  readonly imagePath: string | null;
  /** What it was made from, as one digest. */
  readonly recipe: string | null;
  readonly origin: EnvironmentOrigin | null;
  readonly config: EnvironmentConfig | null;
  /** The workspace that it was saved from, and what that was made of. */
  readonly savedFrom: { readonly workspaceId: string; readonly environment: string } | null;
}

export interface EnvironmentList {
  readonly catalogVersion: string;
  readonly environments: readonly EnvironmentSummary[];
}

/** How `pullEnvironment` is to pull. */
export interface PullOptions {
  /** Makes it anew even when it is whole; with `fromPath` also in the place of one that came from elsewhere. */
  readonly force?: boolean | undefined;
  /** Absolute path of an OCI archive (`skopeo copy … oci-archive:FILE`), or of a directory with an OCI layout. */
  readonly fromPath?: string | undefined;
  /** Which of several images in it, as the archive calls it. */
  readonly fromImage?: string | undefined;
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

export interface PullProgress {
  readonly phase: string;
  readonly bytesDone: number;
  /** 0 where it is not known. */
  readonly bytesTotal: number;
  readonly message: string;
}

export interface PullResult {
  readonly environment: EnvironmentDetails;
  /** It was there and whole already. */
  readonly reused: boolean;
  /** It was there but damaged, and was made again. */
  readonly repaired: boolean;
  readonly durationMs: number;
}

export interface PushResult {
  readonly environment: string;
  /** Of the image, with its registry and tag: podman and docker run it by that. */
  readonly reference: string;
  /** "sha256:…" of the image's manifest. */
  readonly digest: string;
  /** Of its layers, as they are packed. */
  readonly sizeBytes: number;
  /** What of it the registry did not have. */
  readonly uploadedBytes: number;
  /** It is the very image that the environment came from. */
  readonly sameImage: boolean;
  /** Sockets, which no image carries. */
  readonly leftOut: number;
  readonly durationMs: number;
}

/** What `pruneEnvironments` is to remove besides leftovers. */
export interface PruneOptions {
  /** The same as `unused`. */
  readonly all?: boolean | undefined;
  /** Also environments that were pulled and that no workspace or machine uses. */
  readonly unused?: boolean | undefined;
  /** Of those, only what was used last, or made and never used, longer ago. */
  readonly olderThanSeconds?: number | undefined;
  /** Only tells what would be removed. */
  readonly dryRun?: boolean | undefined;
}

export interface PruneResult {
  readonly removed: readonly string[];
  readonly freedBytes: number;
}

export interface DeletedEnvironment {
  readonly name: string;
  readonly freedBytes: number;
}

export function toSummary(environment: WireEnvironment): EnvironmentSummary {
  return {
    name: environment.name,
    description: environment.description,
    installed: environment.installed,
    source: environment.source,
    digest: environment.digest === "" ? null : environment.digest,
    sizeBytes: Number(environment.sizeBytes),
    downloadBytes: Number(environment.downloadBytes),
    template: toReadiness(environment.template),
    sharedSizeBytes: Number(environment.sharedSizeBytes),
    lastUsedAt: toTime(environment.lastUsedAtMs),
  };
}

export function toDetails(environment: WireEnvironment): EnvironmentDetails {
  const { origin, config, savedFrom } = environment;
  return {
    ...toSummary(environment),
    packages: environment.packages.map(({ name, version }) => ({ name, version })),
    createdAt: toTime(environment.createdAtMs),
    imagePath: environment.imagePath === "" ? null : environment.imagePath,
    recipe: environment.recipe === "" ? null : environment.recipe,
    origin:
      origin === undefined
        ? null
        : {
            ...{ reference: origin.reference, manifestDigest: origin.manifestDigest },
            layers: origin.layers.map(({ digest, sizeBytes }) => ({ digest, sizeBytes: Number(sizeBytes) })),
          },
    config: config === undefined ? null : toConfig(config),
    savedFrom:
      savedFrom === undefined
        ? null
        : { workspaceId: savedFrom.workspaceId, environment: savedFrom.environment },
  };
}

function toConfig({ env, user, workingDir, entrypoint, cmd }: WireConfig): EnvironmentConfig {
  return { env, user, workingDir, entrypoint, cmd };
}

function toTime(ms: bigint): string | null {
  return ms === 0n ? null : new Date(Number(ms)).toISOString();
}

export function toReadiness(value: string): Readiness {
  return value === "warm" || value === "stale" ? value : "cold";
}

export function toPullProgress({ phase, bytesDone, bytesTotal, message }: WirePullProgress): PullProgress {
  return { phase, bytesDone: Number(bytesDone), bytesTotal: Number(bytesTotal), message };
}

/** @throws {PyroError} INVALID_ARGUMENT */
export function toPullRequest(
  name: string,
  { force = false, fromPath, fromImage = "" }: PullOptions,
): MessageInitShape<typeof PullEnvironmentRequestSchema> {
  return { name, force, fromPath: fromPath === undefined ? "" : requireAbsolute(fromPath), fromImage };
}

/** Follows a pull to its result. */
export async function followPull(
  responses: AsyncIterable<PullEnvironmentResponse>,
  onProgress: ((progress: PullProgress) => void) | undefined,
): Promise<PullResult> {
  return await resultOf("the pull", responses, ({ event }) => {
    if (event.case === "progress") onProgress?.(toPullProgress(event.value));
    if (event.case !== "result" || event.value.environment === undefined) return undefined;
    const { environment, reused, repaired, durationMs } = event.value;
    return { environment: toDetails(environment), reused, repaired, durationMs: Number(durationMs) };
  });
}

/** Follows a push to its result. */
export async function followPush(
  responses: AsyncIterable<PushEnvironmentResponse>,
  onProgress: ((progress: PullProgress) => void) | undefined,
): Promise<PushResult> {
  return await resultOf("the push", responses, ({ event }) => {
    if (event.case === "progress") onProgress?.(toPullProgress(event.value));
    if (event.case !== "result") return undefined;
    const { environment, reference, digest, sameImage, ...counts } = event.value;
    return {
      ...{ environment, reference, digest, sameImage },
      sizeBytes: Number(counts.sizeBytes),
      uploadedBytes: Number(counts.uploadedBytes),
      leftOut: Number(counts.leftOut),
      durationMs: Number(counts.durationMs),
    };
  });
}
