import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { connect, type OnReadOpts, type Socket } from "node:net";
import { basename, dirname } from "node:path";

/**
 * A name for a unix socket that always fits into sun_path (107 bytes): the directory is opened and addressed through
 * /proc/self/fd. The name holds while the result is not disposed of.
 */
export async function shortSocketPath(path: string): Promise<{ path: string } & AsyncDisposable> {
  const directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  let closed: Promise<void> | undefined;
  return {
    path: `/proc/self/fd/${directory.fd}/${basename(path)}`,
    [Symbol.asyncDispose]: () => (closed ??= directory.close()),
  };
}

/**
 * Connects to a unix socket whatever the length of its path. Rejects with the system's error. The peer may leave before
 * the caller has looked: the socket is destroyed then, and what was wrong with it is no uncaught error.
 * @param onread reads it into a buffer of the caller's, from the moment it is connected
 */
export async function connectUnix(path: string, onread?: OnReadOpts): Promise<Socket> {
  await using short = await shortSocketPath(path);
  return await new Promise<Socket>((resolve, reject) => {
    const socket = connect({ path: short.path, ...(onread === undefined ? {} : { onread }) });
    socket.once("connect", () => {
      resolve(socket);
    });
    // Stays: once there is a connection it rejects nothing, and keeps an early error from being nobody's.
    socket.on("error", reject);
  });
}
