import { describe, expect, it } from "vitest";
import { judgeFirstBytes, NO_NETWORK, policyFromFlags, type Gateway } from "../../../src/network/index.js";
import { bytesOf, echo, start, dialLoopback, LoopbackServer, makeGateway, WEB } from "./gateway-support.js";

describe("a connection through the gateway", () => {
  it("that the policy refuses in the very moment in which it comes about does not come about", async () => {
    await using server = await LoopbackServer.start(echo as never);
    const dial = dialLoopback();
    const gateway: Gateway = makeGateway({
      dial: async (place, signal) => {
        const socket = await dial(place, signal);
        gateway.setPolicy(NO_NETWORK);
        return socket;
      },
    });
    const { pipe, over } = start(gateway, WEB, server.port);
    expect(await pipe.answered()).toMatchObject({ because: "policy" });
    await over;
    expect(gateway.record.entries).toMatchObject([
      { decision: "refused", end: "the network policy was changed" },
    ]);
    expect(gateway.openCount).toBe(0);
    await expect.poll(() => server.sockets.size).toBe(0);
  });

  it("carries bytes both ways, half-closed first by the program and then by the server", async () => {
    await using server = await LoopbackServer.start(echo as never);
    const dialled: string[] = [];
    const gateway = makeGateway({ dial: dialLoopback(dialled) });
    const { pipe, over } = start(gateway, WEB, server.port, "command-3");
    expect(await pipe.answered()).toBe("opened");
    await pipe.send("hello ");
    await pipe.send("world");
    await expect.poll(() => pipe.text).toBe("hello world");
    pipe.end();
    await over;
    expect(pipe.isFinished).toBe(true);
    expect(pipe.resetWith).toBeUndefined();
    expect(dialled).toEqual([`${WEB} ${server.port}`]);
    const [entry] = gateway.record.entries;
    const facts = { address: WEB, port: server.port, bytesUp: 11, bytesDown: 11, openedBy: "command-3" };
    expect(entry).toMatchObject({ kind: "connection", decision: "allowed", end: "finished", ...facts });
    expect(gateway.record.totals).toEqual({
      connections: 1,
      published: 0,
      refused: 0,
      failed: 0,
      bytesUp: 11,
      bytesDown: 11,
    });
    expect(gateway.openCount).toBe(0);
  });

  it("hears a server that speaks first, and one that ends first while the program goes on", async () => {
    const heard: string[] = [];
    await using server = await LoopbackServer.start((socket) => {
      socket.on("data", (data) => heard.push(data.toString()));
      socket.end("220 mail.test ready\r\n");
    });
    const gateway = makeGateway({ look: () => ({ kind: "need-more" }) });
    const { pipe, over } = start(gateway, WEB, server.port);
    await expect.poll(() => pipe.text).toBe("220 mail.test ready\r\n");
    await expect.poll(() => pipe.isFinished).toBe(true);
    const passing = makeGateway();
    const other = start(passing, WEB, server.port);
    await expect.poll(() => other.pipe.isFinished).toBe(true);
    await other.pipe.send("late words");
    other.pipe.end();
    await other.over;
    await expect.poll(() => heard.join("")).toBe("late words");
    pipe.abandon();
    await over;
  });

  it("tells the program how connecting failed", async () => {
    const closed = await LoopbackServer.start(() => undefined);
    const { port } = closed;
    await closed[Symbol.asyncDispose]();
    const gateway = makeGateway({ connectMs: 50 });
    const one = start(gateway, WEB, port);
    expect(await one.pipe.answered()).toMatchObject({ because: "refused" });
    await one.over;
    const silent = makeGateway({
      connectMs: 50,
      dial: (_place, signal) =>
        new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
    });
    const two = start(silent, WEB, 80);
    expect(await two.pipe.answered()).toMatchObject({ because: "timed-out" });
    await two.over;
    for (const [code, because] of [
      ["EHOSTUNREACH", "unreachable"],
      ["EMFILE", "limit"],
    ]) {
      const failing = makeGateway({ dial: () => Promise.reject(Object.assign(new Error("no"), { code })) });
      const three = start(failing, WEB, 80);
      expect(await three.pipe.answered()).toMatchObject({ because });
      await three.over;
      expect(failing.record.entries).toMatchObject([{ decision: "failed" }]);
      expect(failing.record.totals).toMatchObject({ connections: 1, failed: 1, refused: 0 });
    }
  });

  it("is not dialled where policy refuses it, with a word for the model", async () => {
    const dialled: string[] = [];
    for (const flags of [{ mode: "off" }, { allow: [] }, { deny: ["203.0.114.0/24"] }]) {
      const gateway = makeGateway({ flags, dial: dialLoopback(dialled) });
      const { pipe, over } = start(gateway, WEB, 443);
      expect(await pipe.answered()).toMatchObject({ because: "policy" });
      await over;
      expect(gateway.record.entries).toMatchObject([
        { decision: "refused", address: WEB, port: 443, bytesUp: 0 },
      ]);
      expect(gateway.record.lastRefusal?.reason).toContain(`${WEB}:443`);
      expect(gateway.record.lastRefusal?.hint).toContain("only the user can");
    }
    expect(dialled).toEqual([]);
  });

  it("reaches the host's loopback by its alias alone, at ports that the user opened", async () => {
    await using server = await LoopbackServer.start((socket) => socket.end("from the host"));
    const { dialDirectly } = await import("../../../src/network/dial.js");
    const gateway = makeGateway({
      flags: { mode: "egress", allowHostPorts: [server.port] },
      dial: dialDirectly,
    });
    const allowed = start(gateway, "10.0.2.2", server.port);
    allowed.pipe.end();
    await allowed.over;
    expect(allowed.pipe.text).toBe("from the host");
    for (const [address, port] of [
      ["10.0.2.2", server.port === 65_535 ? 1 : server.port + 1],
      ["127.0.0.1", server.port],
      ["::ffff:127.0.0.1", server.port],
      ["::1", server.port],
      ["0.0.0.0", server.port],
    ] as const) {
      const refused = start(gateway, address, port);
      expect(await refused.pipe.answered()).toMatchObject({ because: "policy" });
      await refused.over;
    }
    expect(server.acceptedCount).toBe(1);
  });

  it("is judged by the names that led to its address", async () => {
    await using server = await LoopbackServer.start((socket) => socket.end());
    const names = { "good.test": [WEB], "evil.test": ["203.0.114.8"] };
    const gateway = makeGateway({ flags: { mode: "egress", allow: ["good.test"] }, names });
    const before = start(gateway, WEB, server.port);
    expect(await before.pipe.answered()).toMatchObject({ because: "policy" });
    await before.over;
    expect(await gateway.resolve("evil.test", "ipv4")).toEqual({ failure: "refused" });
    expect(await gateway.resolve("GOOD.test.", "ipv4")).toEqual({
      addresses: [bytesOf(WEB)],
      ttlSeconds: 60,
    });
    const after = start(gateway, WEB, server.port);
    after.pipe.end();
    await after.over;
    expect(after.pipe.answer).toBe("opened");
    const other = start(gateway, "203.0.114.8", server.port);
    expect(await other.pipe.answered()).toMatchObject({ because: "policy" });
    await other.over;
    expect(gateway.record.entries.map(({ decision, name }) => [decision, name])).toEqual([
      ["refused", undefined],
      ["refused", "evil.test"],
      ["allowed", "good.test"],
      ["refused", undefined],
    ]);
  });
});

describe("a change of policy", () => {
  it("resets what it refuses, and leaves the rest", async () => {
    await using server = await LoopbackServer.start(echo as never);
    const names = { "good.test": [WEB], "other.test": ["203.0.114.9"] };
    const gateway = makeGateway({ names });
    for (const name of Object.keys(names)) await gateway.resolve(name, "ipv4");
    const good = start(gateway, WEB, server.port);
    const other = start(gateway, "203.0.114.9", server.port);
    await Promise.all([good.pipe.answered(), other.pipe.answered()]);
    gateway.setPolicy(policyFromFlags({ mode: "egress", allow: ["good.test"] }));
    await other.over;
    expect(other.pipe.resetWith).toBe("the network policy was changed");
    expect(gateway.record.entries.at(-1)).toMatchObject({ decision: "refused", name: "other.test" });
    await good.pipe.send("still there");
    await expect.poll(() => good.pipe.text).toBe("still there");
    gateway.setPolicy(NO_NETWORK);
    await good.over;
    expect(await gateway.resolve("good.test", "ipv4")).toEqual({ failure: "refused" });
    expect(gateway.openCount).toBe(0);
  });

  it("ends what is being dialled, and what named another host in its first bytes", async () => {
    let started = 0;
    const slow = makeGateway({
      dial: (_place, signal) => {
        started += 1;
        return new Promise((_, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason as Error)),
        );
      },
    });
    const dialling = start(slow, WEB, 80);
    await expect.poll(() => started).toBe(1);
    slow.setPolicy(NO_NETWORK);
    await dialling.over;
    expect(dialling.pipe.answer).toMatchObject({ because: "policy" });
    expect(slow.record.totals).toMatchObject({ refused: 1, failed: 0 });
    await using server = await LoopbackServer.start(echo as never);
    const gateway = makeGateway({ look: judgeFirstBytes });
    const { pipe, over } = start(gateway, WEB, server.port);
    const request = "GET / HTTP/1.1\r\nHost: named.test\r\n\r\n";
    await pipe.send(request.slice(0, 20));
    await pipe.send(request.slice(20));
    await expect.poll(() => pipe.text).toBe(request);
    gateway.setPolicy(policyFromFlags({ mode: "egress", deny: ["other.test"] }));
    expect(pipe.resetWith).toBeUndefined();
    gateway.setPolicy(policyFromFlags({ mode: "egress", deny: ["named.test"] }));
    await over;
    expect(pipe.resetWith).toBe("the network policy was changed");
  });
});

describe("a gateway that is closed", () => {
  it("has reset all, and refuses what comes", async () => {
    await using server = await LoopbackServer.start(echo as never);
    const gateway = makeGateway();
    const { pipe, over } = start(gateway, WEB, server.port);
    await pipe.answered();
    await gateway.close("the workspace was stopped");
    await over;
    expect(pipe.resetWith).toBe("the workspace was stopped");
    const late = start(gateway, WEB, server.port);
    expect(await late.pipe.answered()).toMatchObject({ because: "limit" });
    await expect.poll(() => server.sockets.size).toBe(0);
  });
});
