import * as z from "zod";
import { LIMITS, PyroError } from "../protocol/index.js";
import { isDigest, parseDigest, type Digest } from "./digest.js";
import type { Platform } from "./manifest.js";

/** What an image says of the programs that run in it (image-spec, config.md). */
export interface ImageConfig {
  readonly platform: Platform;
  /** "NAME=value", as in the image; user and working directory are resolved in the guest, against its own files. */
  readonly env: readonly string[];
  readonly user: string;
  readonly workingDir: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly stopSignal: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Digests of the layers' tar files, unpacked; the lowest first. */
  readonly diffIds: readonly Digest[];
}

const nul = /\0/;
const text = (max: number) =>
  z
    .string()
    .max(max)
    .refine((value) => !nul.test(value), "it holds a NUL");
/** Also a bare string, as docker reads it (strslice): it is the only element then. null is what Go writes for none. */
const argv = z
  .union([z.array(text(LIMITS.argumentBytes)), text(LIMITS.argumentBytes).transform((only) => [only])])
  .nullish()
  .transform((value) => value ?? []);
const optional = (max: number) =>
  text(max)
    .nullish()
    .transform((value) => value ?? "");

/** Keys that are not read (Volumes, ExposedPorts, history, what docker adds) may be anything. */
const schema = z.object({
  os: z.string().max(64),
  architecture: z.string().max(64),
  variant: z.string().max(64).optional(),
  config: z
    .object({
      Env: argv,
      User: optional(256),
      WorkingDir: optional(4_096),
      Entrypoint: argv,
      Cmd: argv,
      StopSignal: optional(32),
      Labels: z
        .record(z.string(), z.string())
        .nullish()
        .transform((value) => value ?? {}),
    })
    .nullish(),
  rootfs: z.object({ type: z.literal("layers"), diff_ids: z.array(z.string().max(200)) }),
});

/**
 * Reads a configuration, whose digest is proven already.
 * @param layers how many layers the manifest has: so many the configuration must have too
 * @throws {PyroError} IMAGE_CONFIG_INVALID
 */
export function parseImageConfig(what: string, bytes: Uint8Array, layers: number): ImageConfig {
  const { success, data, error } = schema.safeParse(readJson(bytes));
  if (!success) {
    const [issue] = error.issues;
    throw invalid(what, `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "it is not as specified"}`);
  }
  const diffIds = data.rootfs.diff_ids.map((id) => {
    const digest = parseDigest(id);
    if (!isDigest(digest)) throw invalid(what, `one of rootfs.diff_ids is none: ${digest.problem}`);
    return digest;
  });
  if (diffIds.length !== layers) {
    throw invalid(what, `it has ${diffIds.length} layers, and the manifest ${layers}`);
  }
  const {
    Env = [],
    Entrypoint = [],
    Cmd = [],
    User = "",
    WorkingDir = "",
    StopSignal = "",
    Labels = {},
  } = data.config ?? {};
  checkEnvironment(what, Env);
  checkTotal(what, "Env", Env);
  checkTotal(what, "Entrypoint and Cmd", [...Entrypoint, ...Cmd]);
  const { os, architecture, variant } = data;
  return {
    platform: { os, architecture, ...(variant === undefined ? {} : { variant }) },
    ...{ env: Env, user: User, workingDir: WorkingDir, entrypoint: Entrypoint, cmd: Cmd },
    ...{ stopSignal: StopSignal, labels: Labels, diffIds },
  };
}

function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

function checkEnvironment(what: string, env: readonly string[]): void {
  const wrong = env.findIndex((entry) => !/^[^=]+=/.test(entry));
  if (wrong >= 0) throw invalid(what, `entry ${wrong + 1} of its Env is not NAME=value`);
}

/** What would not fit beside a command line of the user's: Linux takes no more. */
function checkTotal(what: string, which: string, values: readonly string[]): void {
  const bytes = values.reduce((sum, value) => sum + Buffer.byteLength(value) + 1, 0);
  if (values.length <= LIMITS.argumentCount && bytes <= LIMITS.argumentsTotalBytes) return;
  throw invalid(what, `its ${which} has ${values.length} entries of ${bytes} bytes`);
}

function invalid(what: string, problem: string): PyroError {
  return new PyroError("IMAGE_CONFIG_INVALID", `the configuration of ${what} cannot be used: ${problem}`, {
    hint: "build the image anew by a current tool, or name another one",
    details: { image: what, problem },
  });
}
