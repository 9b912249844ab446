import { connect as connectHttp2, type ClientHttp2Session } from "node:http2";
import { connectUnix } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import { serviceClient, type ServiceClient, type ServiceName } from "./services.js";
import type { OpenStream } from "./wire-call.js";

/** One HTTP/2 connection to a daemon, with its typed services. */
export interface Connection extends Disposable {
  service<Name extends ServiceName>(name: Name): Promise<ServiceClient<Name>>;
  readonly closed: boolean;
}

const AUTHORITY = "http://pyro";

/**
 * Connects to the daemon's socket, whatever the length of its path. A call keeps this process alive, an idle connection
 * does not. Rejects with the system's error.
 */
export async function openConnection(socketPath: string): Promise<Connection> {
  const socket = await connectUnix(socketPath);
  // A daemon that was killed with the connection in its backlog: a session on such a socket would neither open nor end.
  if (socket.errored) throw socket.errored;
  const session = connectHttp2(AUTHORITY, {
    createConnection: () => socket,
    settings: { initialWindowSize: LIMITS.http2WindowBytes, enablePush: false },
  });
  // Every loss reaches the callers by their streams; unheard, the event would end the process. Before anything is waited
  // for: such a daemon may also be lost in the very next tick.
  session.on("error", () => undefined);
  // Node hands the session what the socket read already in a later tick, and fails if it was destroyed by then.
  await new Promise(setImmediate);
  session.once("connect", () => {
    if (!session.destroyed) session.setLocalWindowSize(LIMITS.http2WindowBytes);
  });
  const openStream = streamOpener(session);
  return {
    service: (name) => serviceClient(name, openStream),
    get closed() {
      return session.closed || session.destroyed;
    },
    [Symbol.dispose]: () => session.destroy(),
  };
}

/** One call's stream; the process stays alive for as long as one is open. */
function streamOpener(session: ClientHttp2Session): OpenStream {
  let open = 0;
  session.unref();
  return (headers) => {
    const stream = session.request(headers);
    if (open++ === 0) session.ref();
    stream.once("close", () => {
      if (--open === 0 && !session.destroyed) session.unref();
    });
    return stream;
  };
}
