import { PyroError } from "../protocol/index.js";

const DEFAULT = 4;
/** Most machines that may be wished for; each waits with about 100 MB. */
export const POOL_MAX = 64;

/**
 * How many machines wait ready at most; 0 means none. PYRO_POOL, of the environment that the daemon was started in, is
 * for tests and goes before the configuration.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function poolSize(configured: number | undefined): number {
  const given = process.env["PYRO_POOL"];
  if (given === undefined || given === "") return configured ?? DEFAULT;
  if (/^\d{1,2}$/.test(given) && Number(given) <= POOL_MAX) return Number(given);
  throw new PyroError("INVALID_ARGUMENT", `PYRO_POOL is ${JSON.stringify(given)}`, {
    hint: `set it to how many machines shall wait ready, 0 to ${POOL_MAX}, or unset it`,
  });
}
