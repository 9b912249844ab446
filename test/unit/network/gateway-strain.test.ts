import { describe, expect, it } from "vitest";
import { sleep } from "../../../src/kit/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { echo, start, LoopbackServer, makeGateway, WEB } from "./gateway-support.js";

describe("back-pressure", () => {
  it("holds a server whose program reads nothing", async () => {
    let written = 0;
    await using server = await LoopbackServer.start((socket) => {
      const more = (): void => {
        while (socket.write(Buffer.alloc(65_536))) written += 65_536;
        written += 65_536;
      };
      socket.on("drain", more);
      more();
    });
    const gateway = makeGateway();
    const { pipe, over } = start(gateway, WEB, server.port);
    pipe.reads = false;
    let before = -1;
    while (before !== written) {
      before = written;
      await sleep(100);
    }
    // What kernels hold on both sides, not what this process does.
    expect(written).toBeLessThan(32 * 1024 * 1024);
    expect(pipe.receivedBytes).toBe(0);
    pipe.resume();
    await expect.poll(() => written, { timeout: 10_000 }).toBeGreaterThan(before + 16 * 1024 * 1024);
    pipe.abandon();
    await over;
  });

  it("holds a program whose server reads nothing", async () => {
    await using server = await LoopbackServer.start((socket) => socket.pause());
    const gateway = makeGateway();
    const { pipe, over } = start(gateway, WEB, server.port);
    let sent = 0;
    const sending = (async () => {
      for (;;) {
        await pipe.send(Buffer.alloc(32_768));
        sent += 32_768;
      }
    })().catch(() => undefined);
    let before = -1;
    while (before !== sent) {
      before = sent;
      await sleep(100);
    }
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    for (const socket of server.sockets) socket.resume();
    await expect.poll(() => sent, { timeout: 10_000 }).toBeGreaterThan(before + 8 * 1024 * 1024);
    pipe.abandon();
    await Promise.all([over, sending]);
  });

  it("keeps 200 connections that nobody reads flat in memory, beside one that is quick", async () => {
    const block = Buffer.alloc(1024 * 1024);
    await using server = await LoopbackServer.start((socket) => {
      const more = (): void => {
        while (socket.write(block));
      };
      socket.on("drain", more);
      more();
    });
    await using quick = await LoopbackServer.start(echo as never);
    const gateway = makeGateway();
    const stuck = Array.from({ length: 200 }, () => {
      const started = start(gateway, WEB, server.port);
      started.pipe.reads = false;
      return started;
    });
    await Promise.all(stuck.map(({ pipe }) => pipe.answered()));
    expect(gateway.openCount).toBe(200);
    await sleep(300);
    const one = start(gateway, WEB, quick.port);
    await one.pipe.send("still quick");
    await expect.poll(() => one.pipe.text).toBe("still quick");
    // Each holds what one socket reads ahead, at most.
    for (const { pipe } of stuck) expect(pipe.receivedBytes).toBe(0);
    one.pipe.end();
    await one.over;
    await gateway.close("the test is over");
    await Promise.all(stuck.map(({ over }) => over));
    await expect.poll(() => server.sockets.size).toBe(0);
  });
});

describe("servers and programs that misbehave", () => {
  it("a server that sends a byte now and then is heard byte by byte", async () => {
    await using server = await LoopbackServer.start((socket) => {
      let count = 0;
      const timer = setInterval(() => socket.write(String(count++)), 20);
      socket.on("close", () => clearInterval(timer));
    });
    const gateway = makeGateway();
    const { pipe, over } = start(gateway, WEB, server.port);
    await expect.poll(() => pipe.text).toMatch(/^0123/);
    pipe.abandon();
    await over;
    expect(gateway.record.entries[0]?.end).toContain("reset by the program");
  });

  it("a server that resets is a reset in the guest", async () => {
    await using server = await LoopbackServer.start((socket) => {
      socket.write("half a ");
      setTimeout(() => socket.resetAndDestroy(), 20);
    });
    const gateway = makeGateway();
    const { pipe, over } = start(gateway, WEB, server.port);
    await over;
    expect(pipe.resetWith).toBe("ECONNRESET");
    expect(gateway.record.entries[0]?.end).toBe("reset by the server: ECONNRESET");
  });

  it("a program that resets is a reset at the server, also while it is being connected", async () => {
    const errors: unknown[] = [];
    await using server = await LoopbackServer.start((socket) => {
      socket.on("error", (error: NodeJS.ErrnoException) => errors.push(error.code));
      socket.resume();
    });
    const gateway = makeGateway();
    const { pipe, over } = start(gateway, WEB, server.port);
    await pipe.answered();
    await expect.poll(() => server.sockets.size).toBe(1);
    pipe.abandon();
    await over;
    await expect.poll(() => errors).toEqual(["ECONNRESET"]);
    let isAborted = false;
    const slow = makeGateway({
      dial: (_place, signal) =>
        new Promise((_, reject) =>
          signal.addEventListener("abort", () => {
            isAborted = true;
            reject(signal.reason as Error);
          }),
        ),
    });
    const dialling = start(slow, WEB, 80);
    await sleep(10);
    dialling.pipe.abandon();
    await dialling.over;
    expect(isAborted).toBe(true);
    expect(slow.record.entries).toMatchObject([{ decision: "failed", reason: "the program gave up" }]);
  });

  it("hundreds of half-open connections wait in bounds, and the rest are refused", async () => {
    let dialling = 0;
    let most = 0;
    const gateway = makeGateway({
      connectMs: 200,
      dial: (_place, signal) => {
        dialling += 1;
        most = Math.max(most, dialling);
        return new Promise((_, reject) =>
          signal.addEventListener("abort", () => {
            dialling -= 1;
            reject(signal.reason as Error);
          }),
        );
      },
    });
    const all = Array.from({ length: LIMITS.networkConnections + 50 }, () => start(gateway, WEB, 80));
    await Promise.all(all.map(({ over }) => over));
    expect(most).toBe(LIMITS.networkDials);
    const answers = all.map(({ pipe }) =>
      typeof pipe.answer === "object" ? pipe.answer.because : pipe.answer,
    );
    expect(answers.filter((because) => because === "limit")).toHaveLength(50);
    expect(answers.filter((because) => because === "timed-out")).toHaveLength(LIMITS.networkConnections);
    expect(gateway.openCount).toBe(0);
  });
});
