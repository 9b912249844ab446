import { PyroError } from "../protocol/index.js";

const DEFAULT = 4;
const MOST = 64;

/**
 * How many machines wait ready at most: PYRO_POOL of the environment that the daemon was started in; 0 means none.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function poolSize(): number {
  const given = process.env["PYRO_POOL"];
  if (given === undefined || given === "") return DEFAULT;
  if (/^\d{1,2}$/.test(given) && Number(given) <= MOST) return Number(given);
  throw new PyroError("INVALID_ARGUMENT", `PYRO_POOL is ${JSON.stringify(given)}`, {
    hint: `set it to how many machines shall wait ready, 0 to ${MOST}, or unset it`,
  });
}
