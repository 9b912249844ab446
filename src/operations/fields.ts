import * as z from "zod";
import { DEFAULT_MACHINE, LIMITS } from "../protocol/index.js";

/** A record of the SDK with the contract's field names: camelCase keys become snake_case, all the way down. */
export function snakeKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeKeys);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [snakeCase(key), snakeKeys(inner)]));
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Fields that several operations share, each bounded and described once. */
export const field = {
  environment: (): z.ZodString => z.string().min(1).max(255),
  vcpuCount: () =>
    z
      .int()
      .min(1)
      .max(LIMITS.vcpuCountMax)
      .default(DEFAULT_MACHINE.vcpuCount)
      .describe("Virtual CPUs of the VM"),
  memMib: () =>
    z
      .int()
      .min(LIMITS.memMibMin)
      .max(LIMITS.memMibMax)
      .default(DEFAULT_MACHINE.memMib)
      .describe("Memory of the VM in MiB"),
  seconds: () => z.int().min(1).max(LIMITS.longestSeconds),
  /** A command, as a line for the shell: of this and `argv` exactly one is given. */
  shellLine: () => z.string().min(1).max(LIMITS.argumentBytes).optional(),
  /** A command, by its words. */
  argv: () =>
    z
      .array(z.string().max(LIMITS.argumentBytes))
      .min(1)
      .max(1000)
      .optional()
      .describe("Program and arguments, run without a shell"),
};

export const isolation = z.enum(["kvm", "software"]);
export const readiness = z.enum(["cold", "warm", "stale"]);

/** One catalogue entry, as section 6 of the contract names its fields. */
export const environmentRecord = z.object({
  name: z.string(),
  description: z.string(),
  installed: z.boolean(),
  source: z.string(),
  digest: z.string().nullable(),
  size_bytes: z.number(),
  download_bytes: z.number(),
  template: readiness,
  shared_size_bytes: z.number(),
  last_used_at: z.string().nullable(),
});

/** One environment with its packages, and how it was made. */
export const environmentDetailsRecord = environmentRecord.extend({
  packages: z.array(z.object({ name: z.string(), version: z.string() })),
  created_at: z.string().nullable(),
  image_path: z.string().nullable(),
  recipe: z.string().nullable(),
  origin: z
    .object({
      reference: z.string(),
      manifest_digest: z.string(),
      layers: z.array(z.object({ digest: z.string(), size_bytes: z.number() })),
    })
    .nullable(),
  config: z
    .object({
      env: z.array(z.string()),
      user: z.string(),
      working_dir: z.string(),
      entrypoint: z.array(z.string()),
      cmd: z.array(z.string()),
    })
    .nullable(),
  saved_from: z.object({ workspace_id: z.string(), environment: z.string() }).nullable(),
});
