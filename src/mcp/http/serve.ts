import { once } from "node:events";
import { resolve } from "node:path";
import { isHostName, tokenOfFile } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import type { ServerBuilder } from "../builder.js";
import { mcpEndpoint } from "./endpoint.js";
import { guarded } from "./guard.js";
import { HTTP_LIMITS, type HttpLimits } from "./limits.js";
import type { ListenAddress } from "./listen-address.js";
import { httpToken } from "./token.js";
import { webServer } from "./web-server.js";

/** Where an HTTP server is, and where the token for it stands. */
export interface HttpPlace {
  readonly url: string;
  readonly tokenPath: string;
  /** Whether others than this machine may reach it. */
  readonly isOpen: boolean;
}

export interface ServeHttpOptions {
  readonly signal: AbortSignal;
  /** A file of the user's with the token; by default one of the state directory, made with the first start. */
  readonly tokenFile?: string | undefined;
  /** Names besides those of the loopback that clients may know the server by. */
  readonly allowedHosts?: readonly string[] | undefined;
  readonly onListening?: (place: HttpPlace) => void | Promise<void>;
  readonly limits?: HttpLimits | undefined;
}

const HTTP_PATH = "/mcp";

/**
 * Serves until the signal fires; then calls in flight are ended, as where a client on standard input goes away.
 * @throws {PyroError} INVALID_ARGUMENT, PORT_TAKEN, PORT_PRIVILEGED, STATE_NOT_PRIVATE, STATE_NOT_WRITABLE
 */
export async function serveHttp(
  builder: ServerBuilder,
  address: ListenAddress,
  options: ServeHttpOptions & { readonly stateDir?: string | undefined },
): Promise<void> {
  const { signal, onListening, limits = HTTP_LIMITS } = options;
  const names = [...(options.allowedHosts ?? []), ...(isHostName(address.host) ? [address.host] : [])];
  const { token, path: tokenPath } = await tokenFor(address, options);
  const gate = {
    ...{ token, path: HTTP_PATH, requests: limits.requests },
    ...{ names: names.map((name) => name.toLowerCase()), anyAddress: !address.isLoopback },
  };
  {
    await using endpoint = mcpEndpoint(builder, limits);
    await using server = await webServer(guarded(gate, endpoint.answer), address, limits);
    await onListening?.({ url: server.origin + HTTP_PATH, tokenPath, isOpen: !address.isLoopback });
    if (!signal.aborted) await once(signal, "abort");
    builder.leave();
  }
  await builder.settle();
}

async function tokenFor(
  { host, isLoopback }: ListenAddress,
  { tokenFile, stateDir }: Pick<ServeHttpOptions, "tokenFile"> & { readonly stateDir?: string | undefined },
): Promise<{ readonly token: string; readonly path: string }> {
  if (tokenFile !== undefined) return { token: await tokenOfFile(tokenFile), path: resolve(tokenFile) };
  if (isLoopback) return await httpToken(stateDir);
  throw new PyroError(
    "INVALID_ARGUMENT",
    `${host} is reached from other machines: that takes a token that you made for it`,
    {
      hint:
        "make one with `(umask 077; head -c 32 /dev/urandom | base64 > pyro-token)` and add --http-token-file pyro-token; " +
        "or leave the host out, and let `ssh -L` lead here",
    },
  );
}
