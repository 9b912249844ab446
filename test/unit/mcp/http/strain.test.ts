import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, it } from "vitest";
import { HTTP_LIMITS, webServer, type Answer } from "../../../../src/mcp/http/index.js";

const SHORT = { ...HTTP_LIMITS, headersMs: 300, requestMs: 600, stalledMs: 500, bodyBytes: 1000 };

/** Sends bytes and reads until the connection ends. */
function raw(origin: string): { socket: Socket; answer: Promise<string> } {
  const { hostname: host, port } = new URL(origin);
  const socket = connect({ host, port: Number(port) });
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  socket.on("error", () => undefined);
  return { socket, answer: new Promise((resolve) => socket.once("close", () => resolve(text))) };
}

const echo: Answer = async ({ body }) => Response.json({ bytes: (await body())?.length ?? "too many" });

it.each([
  ["that sends its headers a byte at a time", "POST / HTTP/1.1\r\nhost: x\r\n", "a"],
  ["that sends its body a byte at a time", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n", "b"],
  [
    "that sends chunks without an end",
    "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
    "1\r\nx\r\n",
  ],
])("ends a client %s, and says why", async (_, head, drop) => {
  await using server = await webServer(echo, undefined, SHORT);
  const { socket, answer } = raw(server.origin);
  socket.write(head);
  const dropping = setInterval(() => socket.write(drop), 50);
  const said = await answer;
  clearInterval(dropping);
  expect(said).toMatch(/^HTTP\/1.1 408 [^]*"the request took too long to come"/);
});

it("ends a client that says nothing at all", async () => {
  await using server = await webServer(echo, undefined, SHORT);
  const { answer } = raw(server.origin);
  expect(await answer).toMatch(/^(HTTP\/1.1 408 [^]*)?$/);
});

it("ends a client that does not read, and the work for it", async () => {
  const closed: AbortSignal[] = [];
  const pull = (controller: ReadableStreamDefaultController<Uint8Array>): void =>
    controller.enqueue(Buffer.alloc(65_536));
  const cancel = (): void => void (isCancelled = true);
  let isCancelled = false;
  const endless: Answer = (exchange) => {
    closed.push(exchange.closed);
    return Promise.resolve(new Response(new ReadableStream({ pull, cancel })));
  };
  await using server = await webServer(endless, undefined, SHORT);
  const { socket } = raw(server.origin);
  socket.pause();
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await expect.poll(() => closed[0]?.aborted, { timeout: 5_000 }).toBe(true);
  await expect.poll(() => isCancelled).toBe(true);
  socket.destroy();
});

it.each([
  ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 400, "this is no HTTP request"],
  ["no host", "GET / HTTP/1.1\r\n\r\n", 400, ""],
  [
    "two lengths",
    "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    400,
    "no HTTP request",
  ],
  [
    "a length and chunks",
    "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    400,
    "no HTTP",
  ],
  [
    "a method that pages may not use",
    "TRACE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    400,
    "no request that can be read",
  ],
  [
    "headers without end",
    `GET / HTTP/1.1\r\nhost: x\r\nx: ${"y".repeat(20_000)}\r\n\r\n`,
    431,
    "the headers are larger",
  ],
] as const)("refuses %s", async (_, bytes, status, says) => {
  await using server = await webServer(echo, undefined, SHORT);
  const { socket, answer } = raw(server.origin);
  socket.end(bytes);
  const said = await answer;
  expect(said).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(said).toContain(says);
});

it.each([
  ["that is announced", { "content-length": "100000" }, 1],
  ["that comes in chunks", {}, 100],
])(
  "keeps nothing of a body %s and is too large, and goes on with the connection",
  async (_, headers, chunks) => {
    await using server = await webServer(echo, undefined, SHORT);
    const chunk = Buffer.alloc(100_000 / chunks, "x");
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        for (let i = 0; i < chunks; i++) controller.enqueue(chunk);
        controller.close();
      },
    });
    const response = await fetch(server.origin, {
      method: "POST",
      body,
      headers,
      duplex: "half",
    });
    expect(await response.json()).toEqual({ bytes: "too many" });
    const next = await fetch(server.origin, { method: "POST", body: "x".repeat(1000) });
    expect(await next.json()).toEqual({ bytes: 1000 });
  },
);

it("closes connections that are too many, and answers those that are not", async () => {
  await using server = await webServer(echo, undefined, { ...HTTP_LIMITS, connections: 3 });
  const all = Array.from({ length: 5 }, () => raw(server.origin));
  const ended = await Promise.race([
    Promise.all([...all.slice(3)].map(({ answer }) => answer)),
    new Promise((resolve) => setTimeout(() => resolve("open"), 2_000)),
  ]);
  expect(ended).toEqual(["", ""]);
  const [first] = all;
  first?.socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  expect(await first?.answer).toMatch(/^HTTP\/1.1 200 /);
  for (const { socket } of all) socket.destroy();
});

it("answers a fault of its own without telling of it", async () => {
  await using server = await webServer(() => Promise.reject(new Error("/root/secret")));
  const response = await fetch(server.origin);
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain("secret");
});

it("is gone with its port and its connections once it is disposed of", async () => {
  const server = await webServer(() => new Promise(() => undefined));
  const { socket, answer } = raw(server.origin);
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(socket, "connect");
  await server[Symbol.asyncDispose]();
  expect(await answer).toBe("");
  await using again = await webServer(echo, { host: "127.0.0.1", port: Number(new URL(server.origin).port) });
  expect((await fetch(again.origin)).status).toBe(200);
});
