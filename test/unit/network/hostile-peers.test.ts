import { describe, expect, it, vi } from "vitest";
import { judgeFirstBytes, type Gateway } from "../../../src/network/index.js";
import { bytesOf, FakePipe, LoopbackServer, makeGateway, WEB } from "./gateway-support.js";

/** A connection of a program to the loopback server, by an address that policy lets through. */
function connect(gateway: Gateway, port: number): { readonly pipe: FakePipe; readonly over: Promise<void> } {
  const pipe = new FakePipe();
  return { pipe, over: gateway.connect({ address: bytesOf(WEB), port, openedBy: "command-1" }, pipe) };
}

describe("a connection through the gateway", () => {
  it("to a server that sends a byte a minute is waited for, minute by minute", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "setInterval"] });
    try {
      await using server = await LoopbackServer.start(() => undefined);
      const gateway = makeGateway();
      const { pipe, over } = connect(gateway, server.port);
      await pipe.answered();
      for (const byte of "slow") {
        await vi.advanceTimersByTimeAsync(60_000);
        for (const socket of server.sockets) socket.write(byte);
        while (!pipe.text.endsWith(byte)) await new Promise((resolve) => setImmediate(resolve));
      }
      expect([pipe.text, pipe.resetWith, gateway.openCount]).toEqual(["slow", undefined, 1]);
      pipe.abandon();
      await over;
    } finally {
      vi.useRealTimers();
    }
  });

  it("whose program sends headers of 10 MB is reset before any of them goes on", async () => {
    let heard = 0;
    await using server = await LoopbackServer.start((socket) =>
      socket.on("data", (data) => (heard += data.length)),
    );
    const gateway = makeGateway({ look: judgeFirstBytes });
    const { pipe, over } = connect(gateway, server.port);
    const line = Buffer.from(`X-Header: ${"x".repeat(1_000)}\r\n`);
    let sent = 0;
    const sending = (async () => {
      await pipe.send("GET / HTTP/1.1\r\n");
      for (; sent < 10_000_000; sent += line.length) await pipe.send(line);
    })();
    await expect(sending).rejects.toThrow("the head has more than");
    await over;
    await expect.poll(() => server.sockets.size).toBe(0);
    expect(heard).toBe(0);
    // No more than one window of them was ever taken in.
    expect(sent).toBeLessThan(2 * 256 * 1024);
    expect(gateway.record.entries).toMatchObject([{ decision: "refused", bytesUp: 0 }]);
  });
});
