import { isIP } from "node:net";
import { isHostName } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";

export interface ListenAddress {
  /** A numeric address, or a name that leads to one. */
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
  /** Whether only this machine reaches it. */
  readonly isLoopback: boolean;
}

const LOOPBACK = "127.0.0.1";

/**
 * `[HOST:]PORT`; the loopback where no host is named.
 * @throws {PyroError} INVALID_ARGUMENT
 */
export function listenAddress(text: string): ListenAddress {
  const colon = text.lastIndexOf(":");
  const [named, digits] = colon < 0 ? [LOOPBACK, text] : [text.slice(0, colon), text.slice(colon + 1)];
  const host = hostOf(named);
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : NaN;
  if (Number.isInteger(port) && port <= 65_535) return { host, port, isLoopback: isLoopback(host) };
  throw new PyroError("INVALID_ARGUMENT", `${JSON.stringify(digits)} is no port`, {
    hint: "use 1 to 65535, or 0 for a free one: `pyro mcp serve --http 8765`",
  });
}

function hostOf(named: string): string {
  if (named.toLowerCase() === "localhost") return LOOPBACK;
  const host = named.replace(/^\[(.*)\]$/, "$1");
  if (isIP(host) > 0 || isHostName(named)) return host.toLowerCase();
  throw new PyroError(
    "INVALID_ARGUMENT",
    `${JSON.stringify(named)} is neither an address nor a host's name`,
    {
      hint: "leave the host out for this machine's loopback; others are such as 192.0.2.7:8765, [2001:db8::7]:8765 or 0.0.0.0:8765",
    },
  );
}

function isLoopback(host: string): boolean {
  return host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}
