import { PyroError } from "../../protocol/index.js";

export interface ListenAddress {
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
}

const LOOPBACK = "127.0.0.1";
const HOSTS: ReadonlyMap<string, string> = new Map([
  ["127.0.0.1", LOOPBACK],
  ["localhost", LOOPBACK],
  ["[::1]", "::1"],
  ["::1", "::1"],
]);

/**
 * `[HOST:]PORT`, on the loopback only: whoever reaches the port and has the token commands machines and reads the
 * project, and HTTP hides neither on its way.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function listenAddress(text: string): ListenAddress {
  const colon = text.lastIndexOf(":");
  const [named, digits] = colon < 0 ? [LOOPBACK, text] : [text.slice(0, colon), text.slice(colon + 1)];
  const host = HOSTS.get(named);
  if (host === undefined) {
    throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(named)} is not this machine's loopback`, {
      hint: "leave the host out; from another machine, `ssh -L PORT:127.0.0.1:PORT` reaches it",
    });
  }
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : NaN;
  if (Number.isInteger(port) && port <= 65_535) return { host, port };
  throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(digits)} is no port`, {
    hint: "use 1 to 65535, or 0 for a free one: `pyro mcp serve --http 8765`",
  });
}
