import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { dialDirectly } from "../../../src/network/dial.js";
import { inletOf } from "../../../src/network/inlet.js";
import { LoopbackServer } from "./gateway-support.js";

const BODY = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index % 251));

async function dialled(port: number, asStream: boolean): Promise<Socket> {
  return await dialDirectly({ host: "127.0.0.1", port, asStream }, new AbortController().signal);
}

describe.each([
  ["into one buffer", false],
  ["as a stream", true],
])("a socket that is read %s", (_, asStream) => {
  it("gives all bytes in turn, then its end, and still sends", async () => {
    const heard: string[] = [];
    await using server = await LoopbackServer.start((socket) => {
      socket.end(BODY);
      socket.on("data", (data) => heard.push(data.toString()));
    });
    const socket = await dialled(server.port, asStream);
    const inlet = inletOf(socket);
    const got: Buffer[] = [];
    const memory = new Set<ArrayBufferLike>();
    for (let bytes = await inlet.next(); bytes !== undefined; bytes = await inlet.next()) {
      memory.add(bytes.buffer);
      got.push(Buffer.from(bytes));
      // Whatever comes meanwhile has to wait.
      await new Promise(setImmediate);
    }
    expect(Buffer.concat(got).equals(BODY)).toBe(true);
    if (!asStream) expect(memory.size).toBe(1);
    expect(await inlet.next()).toBeUndefined();
    socket.end("still here");
    await expect.poll(() => heard.join("")).toBe("still here");
    if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
  });

  it("fails who waits for more when it is closed or reset", async () => {
    const served: Socket[] = [];
    await using server = await LoopbackServer.start((socket) => served.push(socket));
    const closed = await dialled(server.port, asStream);
    const waiting = inletOf(closed).next();
    closed.destroy();
    await expect(waiting).rejects.toThrow(/close/);
    const reset = await dialled(server.port, asStream);
    reset.on("error", () => undefined);
    await expect.poll(() => served.length).toBe(2);
    const alsoWaiting = inletOf(reset).next();
    served[1]?.resetAndDestroy();
    await expect(alsoWaiting).rejects.toThrow("ECONNRESET");
  });
});
