import { describe, expect, it } from "vitest";
import { sleep } from "../../../src/kit/index.js";
import {
  judgeFirstBytes,
  NO_NETWORK,
  PLAIN_EGRESS,
  policyFromFlags,
  SharedLookUp,
  type Gateway,
} from "../../../src/network/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { FirstBytes } from "../../../src/network/first-look.js";
import { address } from "./support.js";
import {
  bytesOf,
  dialLoopback,
  FakePipe,
  lookAtNothing,
  LoopbackServer,
  makeGateway,
  WEB,
} from "./gateway-support.js";

interface Started {
  readonly pipe: FakePipe;
  readonly over: Promise<void>;
}

/** A program that connects. */
function start(gateway: Gateway, address: string, port: number, openedBy = ""): Started {
  const pipe = new FakePipe();
  return { pipe, over: gateway.connect({ address: bytesOf(address), port, openedBy }, pipe) };
}

const echo = (server: { pipe: (to: unknown) => unknown }): unknown => server.pipe(server);

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

describe("the first bytes of a program", () => {
  it("are held until they are known, and go on untouched", async () => {
    const heard: string[] = [];
    await using server = await LoopbackServer.start((socket) => {
      socket.on("data", (data) => heard.push(data.toString()));
      socket.on("end", () => socket.end());
    });
    const gateway = makeGateway({
      look: (bytes) =>
        bytes.length < 8
          ? { kind: "need-more" }
          : { kind: "pass", sees: { protocol: "tls", host: "named.test" } },
    });
    const { pipe, over } = start(gateway, WEB, server.port);
    await pipe.send("GET ");
    await pipe.send("/a");
    await sleep(30);
    expect(heard).toEqual([]);
    await pipe.send(" HTTP/1.1");
    await expect.poll(() => heard.join("")).toBe("GET /a HTTP/1.1");
    await pipe.send(" and more");
    pipe.end();
    await over;
    await expect.poll(() => heard.join("")).toBe("GET /a HTTP/1.1 and more");
    expect(gateway.record.entries[0]?.name).toBe("named.test");
  });

  it("reset the connection when policy refuses them, and no byte of them goes on", async () => {
    const heard: string[] = [];
    await using server = await LoopbackServer.start((socket) =>
      socket.on("data", (data) => heard.push(data.toString())),
    );
    const verdict = { reason: "evil.test did not lead here", hint: "allow it" } as const;
    const gateway = makeGateway({ look: () => ({ kind: "refuse", ...verdict }) });
    const { pipe, over } = start(gateway, WEB, server.port);
    await pipe.send("Host: evil.test");
    await over;
    expect(pipe.resetWith).toBe(verdict.reason);
    await expect.poll(() => server.sockets.size).toBe(0);
    expect(heard).toEqual([]);
    expect(gateway.record.entries).toMatchObject([
      { decision: "refused", reason: verdict.reason, bytesUp: 0 },
    ]);
    expect(gateway.record.lastRefusal).toMatchObject({ hint: "allow it" });
  });

  it("pass after a while where a program waits for an answer to part of a line, and the address is allowed by itself", async () => {
    await using server = await LoopbackServer.start(echo as never);
    const gateway = makeGateway({ look: judgeFirstBytes });
    const { pipe, over } = start(gateway, WEB, server.port);
    await pipe.send("ping");
    await expect.poll(() => pipe.text, { timeout: 5_000 }).toBe("ping");
    await pipe.send("pong");
    await expect.poll(() => pipe.text).toBe("pingpong");
    pipe.end();
    await over;
    const names = { "good.test": [WEB] };
    const listed = makeGateway({
      look: judgeFirstBytes,
      names,
      flags: { mode: "egress", allow: ["good.test"] },
    });
    await listed.resolve("good.test", "ipv4");
    const cut = start(listed, WEB, server.port);
    await cut.pipe.send("GET / HTTP/1.1");
    await sleep(2 * LIMITS.networkFirstQuietMs);
    expect(cut.pipe.resetWith).toBeUndefined();
    cut.pipe.end();
    await cut.over;
    expect(cut.pipe.resetWith).toContain("is not finished");
    expect(listed.record.totals).toMatchObject({ refused: 1, bytesUp: 0 });
    const tls = start(listed, WEB, server.port);
    await tls.pipe.send(Uint8Array.of(0x16, 3, 1));
    await sleep(2 * LIMITS.networkFirstQuietMs);
    expect(tls.pipe.resetWith).toBeUndefined();
    tls.pipe.abandon();
    await tls.over;
  });

  it("do not pass part by part to a place that only a name opened, however long a program waits", () => {
    const listed = policyFromFlags({ mode: "egress", allow: ["good.test"] });
    const first = new FirstBytes({ address: address(WEB), port: 80, names: ["good.test"] });
    expect(first.quietMs(listed)).toBeUndefined();
    expect(first.take(Buffer.from("GET /"), listed)).toEqual([]);
    expect(first.quietMs(listed)).toBe(LIMITS.networkFirstUnclearMs);
    expect(first.quietMs(PLAIN_EGRESS)).toBe(LIMITS.networkFirstQuietMs);
    expect(first.settle(listed)).toMatchObject({ allowed: false });
  });

  it("are refused when they never say what they are", async () => {
    await using server = await LoopbackServer.start(() => undefined);
    const gateway = makeGateway({ look: () => ({ kind: "need-more" }) });
    const endless = start(gateway, WEB, server.port);
    for (let sent = 0; sent <= LIMITS.networkFirstBytes; sent += 8192)
      await endless.pipe.send(Buffer.alloc(8192));
    await endless.over;
    expect(endless.pipe.resetWith).toContain("73728 bytes");
    const cut = start(gateway, WEB, server.port);
    await cut.pipe.send("GE");
    cut.pipe.end();
    await cut.over;
    expect(gateway.record.totals).toMatchObject({ connections: 2, refused: 2, bytesUp: 0 });
  });
});

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

describe("names through the gateway", () => {
  const gatewayOf = (answers: readonly string[], flags = {}): Gateway =>
    makeGateway({ flags, names: { "a.test": answers } });

  it("give the addresses of one family that policy lets through", async () => {
    const gateway = gatewayOf([
      WEB,
      "2a00:1450:4001::5",
      "10.1.2.3",
      "127.0.0.1",
      "::ffff:127.0.0.1",
      "64:ff9b::7f00:1",
    ]);
    expect(await gateway.resolve("a.test", "ipv4")).toMatchObject({ addresses: [bytesOf(WEB)] });
    expect(await gateway.resolve("a.test", "ipv6")).toMatchObject({
      addresses: [bytesOf("2a00:1450:4001::5")],
    });
    expect(await gatewayOf([WEB]).resolve("a.test", "ipv6")).toMatchObject({ addresses: [] });
    expect(await gateway.resolve("b.test", "ipv4")).toEqual({ failure: "not-found" });
  });

  it.each([
    [["127.0.0.1"]],
    [["10.0.0.1"]],
    [["169.254.169.254"]],
    [["::1"]],
    [["10.0.2.2"]],
    [["0x7f.1"]],
    [["not an address"]],
  ])("refuse or drop a resolver's answer of %j", async (answers) => {
    const gateway = gatewayOf(answers);
    const answer = await gateway.resolve("a.test", "ipv4");
    const isOdd = answers[0] === "0x7f.1" || answers[0] === "not an address";
    expect(answer).toEqual(isOdd ? { addresses: [], ttlSeconds: 60 } : { failure: "refused" });
  });

  it("open the host's alias only with a port of it, whatever a resolver says of that name", async () => {
    const names = { "host.pyro.internal": [WEB] };
    expect(await makeGateway({ names }).resolve("host.pyro.internal", "ipv4")).toEqual({
      failure: "refused",
    });
    const opened = makeGateway({ names, flags: { mode: "egress", allowHostPorts: [8000] } });
    expect(await opened.resolve("host.pyro.internal", "ipv4")).toMatchObject({
      addresses: [bytesOf("10.0.2.2")],
    });
    expect(await opened.resolve("host.pyro.internal", "ipv6")).toMatchObject({ addresses: [] });
  });

  it("tell addresses of names that only some port of is allowed", async () => {
    const gateway = gatewayOf([WEB], { mode: "egress", allow: ["a.test:5432"] });
    expect(await gateway.resolve("a.test", "ipv4")).toMatchObject({ addresses: [bytesOf(WEB)] });
    const denied = gatewayOf([WEB], { mode: "egress", deny: [`${WEB}:443`, `${WEB}:80`] });
    expect(await denied.resolve("a.test", "ipv4")).toMatchObject({ addresses: [bytesOf(WEB)] });
  });

  it("are asked for once at a time, and bounded whatever the resolver does", async () => {
    const asked: string[] = [];
    const lookUp = new SharedLookUp((name) => {
      asked.push(name);
      if (name.startsWith("never")) return new Promise(() => undefined);
      return Promise.resolve(Array.from({ length: 10_000 }, (_, index) => `203.0.114.${index % 256}`));
    });
    const options = { policy: PLAIN_EGRESS, lookUp, lookUpMs: 60 };
    const { record } = makeGateway();
    const { Gateway: Real } = await import("../../../src/network/index.js");
    const gateway = new Real({ ...options, record, look: lookAtNothing });
    const many = await Promise.all([
      gateway.resolve("many.test", "ipv4"),
      gateway.resolve("many.test", "ipv6"),
    ]);
    expect(many[0]).toMatchObject({ addresses: { length: LIMITS.networkAddressesPerName } });
    expect(asked).toEqual(["many.test"]);
    const never = await Promise.all(
      Array.from({ length: 200 }, (_, index) => gateway.resolve(`never${index}.test`, "ipv4")),
    );
    expect(never.every((answer) => "failure" in answer && answer.failure === "failed")).toBe(true);
    // Two threads are lost to this workspace, and one is left for others.
    expect(asked.filter((name) => name.startsWith("never"))).toHaveLength(LIMITS.networkLookUpsPerWorkspace);
    const other = new Real({ ...options, record, look: lookAtNothing });
    expect(await other.resolve("many.test", "ipv4")).toMatchObject({ ttlSeconds: 60 });
  });

  it("fail with what the resolver failed with", async () => {
    const lookUp = new SharedLookUp(() =>
      Promise.reject(Object.assign(new Error("again"), { code: "EAI_AGAIN" })),
    );
    const { Gateway: Real } = await import("../../../src/network/index.js");
    const gateway = new Real({
      policy: PLAIN_EGRESS,
      lookUp,
      record: makeGateway().record,
      look: lookAtNothing,
    });
    expect(await gateway.resolve("a.test", "ipv4")).toEqual({ failure: "failed" });
    expect(gateway.record.entries).toMatchObject([{ kind: "name", decision: "failed", name: "a.test" }]);
  });

  it("that are no names are refused before any resolver hears of them", async () => {
    let asked = 0;
    const lookUp = new SharedLookUp(() => {
      asked += 1;
      return Promise.resolve([WEB]);
    });
    const { Gateway: Real } = await import("../../../src/network/index.js");
    const gateway = new Real({
      policy: PLAIN_EGRESS,
      lookUp,
      record: makeGateway().record,
      look: lookAtNothing,
    });
    for (const name of [
      "evil\0.test",
      "127.0.0.1",
      "0x7f.1",
      "a b",
      "ａ.test",
      "",
      "localhost",
      "intranet",
      "-a.test",
    ]) {
      expect(await gateway.resolve(name, "ipv4")).toEqual({ failure: "refused" });
    }
    expect(asked).toBe(0);
  });
});
