import { chmod, lstat, rm } from "node:fs/promises";
import { createServer, type Http2Server, type ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import { join } from "node:path";
import type { ConnectRouter, Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { makePrivateDirectory, shortSocketPath } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";

/** Large enough that one stream of a fast command is not throttled by window updates. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/**
 * Makes the state directory, or proves that it is a directory of this user that nobody else can enter: the socket in
 * it accepts whoever can reach it.
 * @throws {PyroError} STATE_NOT_PRIVATE
 */
export async function preparePrivateDirectory(path: string, mode: 0o700 | 0o711): Promise<void> {
  await makePrivateDirectory(path, mode);
  const stat = await lstat(path);
  const uid = process.getuid?.() ?? 0;
  if (!stat.isDirectory() || stat.uid !== uid) {
    throw new PyroError("STATE_NOT_PRIVATE", `${path} is not a directory of this user`, {
      hint: "remove it, or choose another place with `pyro --state-dir DIR …`",
    });
  }
  if ((stat.mode & 0o777) !== mode) await chmod(path, mode);
}

/** What answers on their way may take when the daemon leaves. */
const GRACE_MS = 500;

/** Serves the routes on `<state>/daemon.sock`. The caller holds the daemon's lock: what stands there is stale. */
export async function listen(
  stateDirectory: string,
  routes: (router: ConnectRouter) => void,
  interceptors: Interceptor[],
): Promise<AsyncDisposable> {
  const path = join(stateDirectory, "daemon.sock");
  await rm(path, { force: true });
  const short = await shortSocketPath(path);
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<Socket>();
  const handle = connectNodeAdapter({
    ...{ routes, interceptors, connect: true, grpc: false, grpcWeb: false },
    readMaxBytes: 2 * LIMITS.argumentsTotalBytes,
  });
  const server = createServer(
    { settings: { initialWindowSize: WINDOW_BYTES, maxFrameSize: 1024 * 1024 } },
    (request, response) => {
      // The adapter waits for "drain" alone (connect-node 2.1): of a caller that is gone it would wait for ever.
      response.once("close", () => response.emit("drain"));
      handle(request, response);
    },
  );
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("session", (session) => {
    sessions.add(session);
    session.setLocalWindowSize(WINDOW_BYTES);
    session.on("error", () => undefined);
    session.on("close", () => sessions.delete(session));
  });
  await bind(server, short.path);
  await chmod(path, 0o600);
  return {
    [Symbol.asyncDispose]: async () => {
      await closeServer(server, sessions, sockets);
      await short[Symbol.asyncDispose]();
      await rm(path, { force: true });
    },
  };
}

async function bind(server: Http2Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Lets answers that are on their way leave, then ends the connections. */
async function closeServer(
  server: Http2Server,
  sessions: ReadonlySet<ServerHttp2Session>,
  sockets: ReadonlySet<Socket>,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const session of sessions) session.close();
  // A session that closes in peace waits for its peer to hang up; a peer that does not is not waited for.
  const timer = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, GRACE_MS);
  await closed;
  clearTimeout(timer);
}
