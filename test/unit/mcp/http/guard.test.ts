import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { INITIALIZE, message, served, TOKEN, type Asked, type Served } from "./served.js";

describe("on the loopback", () => {
  let server: Served;
  beforeAll(async () => {
    server = await served({ allowedHosts: ["Pyro.Example"], limits: { bodyBytes: 100_000 } });
  });
  afterAll(async () => await server[Symbol.asyncDispose]());

  const port = (): string => server.url.port;

  it.each([
    ["its address", () => ({})],
    ["localhost", () => ({ host: `localhost:${port()}` })],
    ["::1", () => ({ host: `[::1]:${port()}` })],
    ["a name that was allowed", () => ({ host: "pyro.example" })],
    ["a page of this machine", () => ({ origin: "http://localhost:3000" })],
    ["a page of the name that was allowed", () => ({ origin: "https://pyro.example" })],
    ["the scheme in small letters", () => ({ authorization: `bearer ${TOKEN}` })],
  ])("answers %s", async (_, headers) => {
    const { status } = await server.ask({ headers: headers() });
    expect(status).toBe(200);
  });

  it.each<[string, Record<string, string>, RegExp]>([
    ["another name", { host: "attacker.example" }, /Host "attacker\.example" is none/],
    ["a name that begins like ours", { host: "localhost.attacker.example" }, /Host/],
    ["a name that ends like ours", { host: "attacker-pyro.example" }, /Host/],
    ["an address of another machine", { host: "192.0.2.7" }, /Host "192\.0\.2\.7"/],
    ["a Host that is none", { host: "[" }, /Host/],
    ["a foreign page", { origin: "https://attacker.example" }, /Origin "https:\/\/attacker\.example"/],
    ["a page without an origin", { origin: "null" }, /Origin "null"/],
    ["a page with an extension's origin", { origin: "chrome-extension://abc" }, /Origin/],
    ["an endless name", { host: "a".repeat(9_000) }, /Host "a{80}…"/],
  ])("refuses %s, whatever token it has", async (_, headers, says) => {
    const { status, body, headers: answered } = await server.ask({ headers });
    expect(status).toBe(403);
    expect(answered).not.toHaveProperty("access-control-allow-origin");
    expect(JSON.parse(body)).toMatchObject({
      ...{ jsonrpc: "2.0", id: null },
      error: { code: -32_000, message: expect.stringMatching(says) as string },
    });
  });

  it.each([
    ["no token", ""],
    ["another", `Bearer ${TOKEN}x`],
    ["the beginning of it", `Bearer ${TOKEN.slice(0, -1)}`],
    ["its digest", `Bearer ${createHash("sha256").update(TOKEN).digest("base64url")}`],
    ["it with a password's scheme", `Basic ${TOKEN}`],
    ["it without a scheme", TOKEN],
    ["it twice", `Bearer ${TOKEN} ${TOKEN}`],
  ])("refuses who sends %s", async (_, authorization) => {
    for (const method of ["POST", "GET", "DELETE", "OPTIONS"]) {
      const { status, headers, body } = await server.ask({ method, headers: { authorization } });
      expect(status).toBe(401);
      expect(headers["www-authenticate"]).toMatch(/^Bearer realm="pyro"/);
      expect(headers).not.toHaveProperty("access-control-allow-origin");
      expect(body).toMatch(/"message":"[^"]*token[^"]*Authorization: Bearer TOKEN/);
      expect(body).not.toContain(TOKEN);
    }
  });

  it.each<[string, Asked, number, RegExp]>([
    ["another path", { path: "/" }, 404, /the server is at \/mcp/],
    ["a path above", { path: "/../mcp/.." }, 404, /the server is at/],
    ["no JSON", { body: '{"jsonrpc":' }, 400, /-32700.*not JSON/],
    ["nothing", { body: "" }, 400, /-32700/],
    ["bytes that are no text", { body: Buffer.from([0x22, 0xff, 0x22]) }, 400, /-32700.*UTF-8/],
    ["no message", { body: "[]" }, 400, /"error"/],
    ["a number", { body: "7" }, 400, /"error"/],
    ["no session's beginning", { body: message("tools/list") }, 400, /begins with initialize/],
    ["two beginnings", { body: `[${INITIALIZE},${INITIALIZE}]` }, 400, /"error"/],
    ["a deep message", { body: "[".repeat(40_000) + "]".repeat(40_000) }, 400, /"error"/],
    ["another kind", { headers: { "content-type": "text/plain" } }, 415, /application\/json/],
    ["another answer", { headers: { accept: "text/html" } }, 406, /text\/event-stream/],
    ["another method", { method: "PUT" }, 400, /"error"/],
    ["a session of nobody", { headers: { "mcp-session-id": "x" } }, 404, /Session not found/],
    ["a stream of nobody", { method: "GET", headers: { "mcp-session-id": "x" } }, 404, /Session/],
    ["an end of nobody", { method: "DELETE", headers: { "mcp-session-id": "x" } }, 404, /Session/],
    ["more than it takes", { body: "x".repeat(100_001) }, 413, /larger than/],
  ])("says what is wrong with %s", async (_, asked, status, says) => {
    const answer = await server.ask(asked);
    expect({ ...answer, headers: {} }).toEqual({
      ...{ status, headers: {} },
      body: expect.stringMatching(says) as string,
    });
    expect(answer.headers["content-type"]).toMatch(/^application\/json/);
    expect((await server.ask()).status).toBe(200);
  });
});

describe("beyond the loopback", () => {
  it("goes by any address, by the names that were allowed, and by no other", async () => {
    await using server = await served({ address: "0.0.0.0:0", allowedHosts: ["pyro.example"] });
    const status = async (headers: Record<string, string>) => (await server.ask({ headers })).status;
    expect(await status({ host: "192.0.2.7:8765" })).toBe(200);
    expect(await status({ host: "[2001:db8::7]:8765" })).toBe(200);
    expect(await status({ host: "pyro.example:8765" })).toBe(200);
    expect(await status({ host: "localhost" })).toBe(200);
    expect(await status({ host: "attacker.example" })).toBe(403);
    expect(await status({ host: "192.0.2.7.attacker.example" })).toBe(403);
    expect(await status({ host: "x@192.0.2.7" })).toBe(403);
    // A page at an address is anybody's.
    expect(await status({ origin: "http://192.0.2.7" })).toBe(403);
    expect(await status({ origin: "https://pyro.example" })).toBe(200);
    expect(await status({ authorization: "" })).toBe(401);
  });
});
