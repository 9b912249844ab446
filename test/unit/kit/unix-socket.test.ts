import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { connectUnix } from "../../../src/kit/index.js";

it("gives a destroyed socket, and no uncaught error, when the peer leaves at once", async () => {
  const directory = await mkdtemp(join(tmpdir(), "pyro-socket-"));
  const path = join(directory, "agent.sock");
  // Bytes that the client sent and nobody read make of the end a reset.
  const server = createServer((socket) => socket.end("x", () => socket.destroy()));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    for (let count = 0; count < 100; count += 1) {
      const socket = await connectUnix(path);
      socket.write("unread");
      socket.resume();
      if (!socket.destroyed) await new Promise((resolve) => socket.once("close", resolve));
      expect(socket.destroyed).toBe(true);
    }
  } finally {
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true, force: true });
  }
});
