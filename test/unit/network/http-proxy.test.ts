import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import { dialDirectly } from "../../../src/network/dial.js";
import { dialByProxy, type Dial, type ProxySettings } from "../../../src/network/index.js";
import { bytesOf, FakePipe, LoopbackServer, makeGateway, WEB } from "./gateway-support.js";

/** A proxy that connects to `to` whatever it is asked for, and notes the heads. */
async function startProxy(
  to: number,
  heads: string[],
  answer = "HTTP/1.1 200 Connection established\r\n\r\n",
) {
  return await LoopbackServer.start((socket) => {
    socket.on("end", () => socket.end());
    socket.once("data", (head) => {
      heads.push(head.toString());
      socket.write(answer);
      if (!answer.includes(" 200 ")) return;
      const server = connect({ port: to, host: "127.0.0.1", allowHalfOpen: true });
      server.on("error", () => socket.destroy());
      socket.pipe(server).pipe(socket);
    });
  });
}

describe("connections through the host's proxy", () => {
  it("ask it for the address that was judged, and carry bytes untouched", async () => {
    await using server = await LoopbackServer.start((socket) => {
      socket.write("first word ");
      socket.pipe(socket);
    });
    const heads: string[] = [];
    await using proxy = await startProxy(server.port, heads);
    const httpsProxy = `http://user:pass%20word@127.0.0.1:${proxy.port}`;
    const gateway = makeGateway({
      names: { "web.test": [WEB] },
      dial: dialByProxy({ httpsProxy }, dialDirectly),
    });
    await gateway.resolve("web.test", "ipv4");
    const pipe = new FakePipe();
    const over = gateway.connect({ address: bytesOf(WEB), port: 4430, openedBy: "" }, pipe);
    await pipe.send("and more");
    await expect.poll(() => pipe.text).toBe("first word and more");
    pipe.end();
    await over;
    const credentials = Buffer.from("user:pass word").toString("base64");
    expect(heads).toEqual([
      `CONNECT ${WEB}:4430 HTTP/1.1\r\nHost: ${WEB}:4430\r\nProxy-Authorization: Basic ${credentials}\r\n\r\n`,
    ]);
    expect(gateway.record.entries[0]?.end).toBe("finished");
  });

  it.each([
    ["HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy answered 403"],
    ["HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answered 407"],
    ["SSH-2.0-OpenSSH\r\n\r\n", "the proxy does not speak HTTP"],
    [`HTTP/1.1 501 ${"x".repeat(40_000)}`, "the proxy does not speak HTTP"],
  ])("fail by name where it opens no tunnel (%#)", async (answer, why) => {
    await using proxy = await startProxy(1, [], answer);
    const dial = dialByProxy({ httpProxy: `http://127.0.0.1:${proxy.port}/` }, dialDirectly);
    const gateway = makeGateway({ dial });
    const pipe = new FakePipe();
    await gateway.connect({ address: bytesOf(WEB), port: 443, openedBy: "" }, pipe);
    expect(pipe.answer).toMatchObject({
      because: "unreachable",
      message: expect.stringContaining(why) as string,
    });
    await expect.poll(() => proxy.sockets.size).toBe(0);
  });

  it("say that it is the proxy that cannot be reached, without its address and password", async () => {
    await using taken = await startProxy(1, []);
    const { port } = taken;
    await taken[Symbol.asyncDispose]();
    const dial = dialByProxy({ httpsProxy: `http://user:secret@127.0.0.1:${port}` });
    const gateway = makeGateway({ dial });
    const pipe = new FakePipe();
    await gateway.connect({ address: bytesOf(WEB), port: 443, openedBy: "" }, pipe);
    const why = `${WEB}:443 cannot be reached (the host's proxy cannot be reached: ECONNREFUSED)`;
    expect(pipe.answer).toEqual({ because: "unreachable", message: why });
    expect(gateway.record.entries[0]).toMatchObject({ decision: "failed", reason: why });
  });

  it("are given up when the proxy hangs up or never answers", async () => {
    await using rude = await LoopbackServer.start((socket) => socket.resume().end());
    await using silent = await LoopbackServer.start((socket) =>
      socket.resume().on("end", () => socket.end()),
    );
    for (const [proxy, because] of [
      [rude, "unreachable"],
      [silent, "timed-out"],
    ] as const) {
      const dial = dialByProxy({ httpProxy: `http://127.0.0.1:${proxy.port}` }, dialDirectly);
      const pipe = new FakePipe();
      await makeGateway({ dial, connectMs: 100 }).connect(
        { address: bytesOf(WEB), port: 443, openedBy: "" },
        pipe,
      );
      expect(pipe.answer).toMatchObject({ because });
      await expect.poll(() => proxy.sockets.size).toBe(0);
    }
  });

  it("go past it where NO_PROXY says so, and to the host's loopback always", async () => {
    const dialled: string[] = [];
    const note: Dial = ({ host, port }) => {
      dialled.push(`${host} ${port}`);
      return Promise.reject(new Error("noted"));
    };
    const dial = async (
      settings: ProxySettings,
      host: string,
      names: readonly string[] = [],
    ): Promise<string> => {
      dialled.length = 0;
      await dialByProxy(settings, note)({ host, port: 443, names }, new AbortController().signal).catch(
        () => undefined,
      );
      return dialled.join();
    };
    const settings = {
      httpProxy: "http://proxy.test:8080",
      noProxy: "corp.test, .inner.test,10.0.0.0/8,2a00::1",
    };
    const proxied = "proxy.test 8080";
    expect(await dial(settings, WEB, ["web.test"])).toBe(proxied);
    expect(await dial(settings, WEB, ["notcorp.test"])).toBe(proxied);
    expect(await dial(settings, WEB, ["git.corp.test"])).toBe(`${WEB} 443`);
    expect(await dial(settings, WEB, ["inner.test"])).toBe(`${WEB} 443`);
    expect(await dial(settings, "10.1.2.3")).toBe("10.1.2.3 443");
    expect(await dial(settings, "2a00::1")).toBe("2a00::1 443");
    expect(await dial(settings, "127.0.0.1")).toBe("127.0.0.1 443");
    expect(await dial({ ...settings, noProxy: "*" }, WEB)).toBe(`${WEB} 443`);
    expect(await dial({}, WEB)).toBe(`${WEB} 443`);
    expect(await dial({ httpsProxy: "http://proxy.test:80" }, WEB)).toBe("proxy.test 80");
    expect(await dial({ httpsProxy: "http://proxy.test" }, WEB)).toBe("proxy.test 3128");
  });

  it("are not made by what is no proxy", () => {
    for (const httpsProxy of ["https://proxy.test", "socks5://proxy.test", "proxy.test:80", "not a url"]) {
      expect(() => dialByProxy({ httpsProxy }, dialDirectly)).toThrow(
        expect.objectContaining({ code: "CONFIG_INVALID" }),
      );
    }
  });
});
