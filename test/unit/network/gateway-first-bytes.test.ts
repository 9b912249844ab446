import { describe, expect, it } from "vitest";
import { sleep } from "../../../src/kit/index.js";
import { judgeFirstBytes, PLAIN_EGRESS, policyFromFlags } from "../../../src/network/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { FirstBytes } from "../../../src/network/first-look.js";
import { address } from "./support.js";
import { echo, start, LoopbackServer, makeGateway, WEB } from "./gateway-support.js";

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
