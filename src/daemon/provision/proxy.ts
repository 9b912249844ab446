import type { NetworkVariables } from "../../kit/index.js";
import { dialByProxy, dialDirectly, type Dial } from "../../network/index.js";
import { PyroError } from "../../protocol/index.js";
import type { Settings } from "../configuration.js";

/** How gateways connect. */
export interface HostProxy {
  readonly dial: Dial;
  /** For its user; without credentials. */
  readonly description: string;
}

/**
 * By the proxy of the configuration, or else of the daemon's starter; small letters go first, as with curl. One of the
 * environment that cannot be used fails connections and nothing else: what is not asked to leave must not depend on it.
 * @throws {PyroError} CONFIG_INVALID when the configuration's own cannot be used
 */
export function hostProxy(
  settings: Pick<Settings, "proxy" | "no_proxy">,
  variables: NetworkVariables,
): HostProxy {
  const noProxy = settings.no_proxy?.join(",") ?? variables.no_proxy ?? variables.NO_PROXY;
  const https = variables.https_proxy ?? variables.HTTPS_PROXY;
  const http = variables.http_proxy ?? variables.HTTP_PROXY;
  const proxy = settings.proxy ?? https ?? http;
  if (proxy === undefined || proxy === "")
    return { dial: dialDirectly, description: "connections go out directly" };
  try {
    const dial = dialByProxy({ httpsProxy: proxy, noProxy });
    return { dial, description: `connections go out by the proxy ${new URL(proxy).host}` };
  } catch (error) {
    if (settings.proxy !== undefined) throw error;
    const { message } = PyroError.from(error);
    const dial: Dial = () => Promise.reject(Object.assign(new Error(message), { code: message }));
    return { dial, description: `connections fail: ${message}` };
  }
}
