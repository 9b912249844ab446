import * as http2 from "node:http2";
import type { Duplex } from "node:stream";
import type { ConnectTransportOptions } from "@connectrpc/connect-node";

/** What connect-node asks of the owner of an HTTP/2 connection. */
type SessionManager = NonNullable<Extract<ConnectTransportOptions, { httpVersion: "2" }>["sessionManager"]>;

/** Host of all URLs on the link; it is never resolved. */
export const AUTHORITY = "http://guest";

/**
 * Window of one stream: what the guest may have under way before the host has read it. It lies in front of control
 * frames in the port's queues, so it bounds their wait (measurements: guest/internal/h2).
 */
const STREAM_WINDOW_BYTES = 256 * 1024;
/** Window of all streams of a channel together; so much larger that some that nobody reads do not hold up the others. */
const CONNECTION_WINDOW_BYTES = 8 * 1024 * 1024;
/** Largest frame the guest may send: each frame costs it a pass through its HTTP/2 code, and it runs emulated. */
const FRAME_BYTES = 1024 * 1024;
/** Node's own bound of a session, in megabytes; above all windows together, so that it only meets a lying guest. */
const SESSION_MEGABYTES = 32;

const settings: http2.Settings = {
  enablePush: false,
  initialWindowSize: STREAM_WINDOW_BYTES,
  maxFrameSize: FRAME_BYTES,
  maxHeaderListSize: 64 * 1024,
  // Of streams the peer opens: the agent's reports on the event channel.
  maxConcurrentStreams: 64,
};

/** HTTP/2 as client on one channel. The stream's end is the session's. */
export function openSession(
  channel: Duplex,
  onFailure: (error: Error) => void,
): { readonly manager: SessionManager; readonly session: http2.ClientHttp2Session } {
  const session = http2.connect(AUTHORITY, {
    createConnection: () => channel,
    settings,
    maxSessionMemory: SESSION_MEGABYTES,
    maxReservedRemoteStreams: 0,
  });
  session.once("connect", () => {
    if (!session.destroyed) session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
  });
  session.on("error", onFailure);
  session.on("goaway", (code) => onFailure(new Error(`HTTP/2 GOAWAY, code ${code}`)));
  session.on("close", () => onFailure(new Error("the HTTP/2 session closed")));
  const manager: SessionManager = {
    authority: AUTHORITY,
    request: async (method, path, headers, options) =>
      session.request({ ...headers, ":method": method, ":path": path }, options),
    notifyResponseByteRead: () => undefined,
  };
  return { manager, session };
}

/** HTTP/2 as server on one channel. */
export function serveSession(
  channel: Duplex,
  handler: (request: http2.Http2ServerRequest, response: http2.Http2ServerResponse) => void,
  onFailure: (error: Error) => void,
): void {
  const server = http2.createServer({ settings, maxSessionMemory: SESSION_MEGABYTES }, handler);
  server.on("sessionError", onFailure);
  server.on("session", (session) => {
    session.on("goaway", (code) => onFailure(new Error(`HTTP/2 GOAWAY, code ${code}`)));
  });
  server.emit("connection", channel);
}
