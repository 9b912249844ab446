import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Credentials } from "../../../src/oci/index.js";
import { challengeOf } from "../../../src/oci/challenge.js";
import { FakeRegistry, type SeenRequest } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";

const SECRET = "s3cret-of-the-user";

const TOKEN = "t0ken-of-the-realm";

const PASSWORD: Credentials = { kind: "password", username: "ann", password: SECRET };

const BASIC = `Basic ${Buffer.from(`ann:${SECRET}`).toString("base64")}`;

let at: Pulling;

/** Where tokens are given out. */
let realm: FakeRegistry;

/** What the realm gives; the default is a good token. */
let give: (request: SeenRequest) => { status?: number; body?: unknown; headers?: Record<string, string> };

/** What the registry takes. */
let taken: (authorization: string | undefined) => boolean;

let challenge: string;

beforeEach(async () => {
  at = await pulling();
  realm = await FakeRegistry.start();
  give = () => ({ body: { token: TOKEN } });
  taken = (authorization) => authorization === `Bearer ${TOKEN}`;
  challenge = `Bearer realm="${realm.url}/token",service="reg",scope="repository:tool:pull,push"`;
  realm.fault = (request, response) => {
    const { status = 200, body, headers = {} } = give(request);
    response.writeHead(status, headers).end(typeof body === "string" ? body : JSON.stringify(body));
    return true;
  };
  at.registry.fault = ({ headers }, response) => {
    if (taken(headers.authorization)) return false;
    response.writeHead(401, { "www-authenticate": challenge }).end(JSON.stringify({ seen: headers }));
    return true;
  };
  at.registry.addImage("tool", "1");
});

afterEach(async () => {
  await realm[Symbol.asyncDispose]();
  await at[Symbol.asyncDispose]();
});

const loggedIn = (credentials: Credentials = PASSWORD) =>
  at.with({ credentials: () => Promise.resolve(credentials) });
const pull = async (pulls = loggedIn()): Promise<void> => {
  await pulls.pull(`${at.registry.name}/tool:1`);
};

describe("a token", () => {
  it("is asked for once for a pull, with the login, and for pulling alone", async () => {
    await pull();
    expect(realm.paths).toEqual(["/token?service=reg&scope=repository%3Atool%3Apull"]);
    expect(realm.requests[0]?.headers.authorization).toBe(BASIC);
    expect(at.registry.requests.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      ...[1, 2, 3].map(() => `Bearer ${TOKEN}`),
    ]);
  });

  it("is asked for by who is nobody, without a login", async () => {
    await pull(at.pulls);
    expect(realm.requests[0]?.headers.authorization).toBeUndefined();
  });

  it("may be called access_token, and an identity token is exchanged for it by POST", async () => {
    give = () => ({ body: { access_token: TOKEN, expires_in: 300 } });
    await pull(loggedIn({ kind: "identity-token", token: SECRET }));
    expect(realm.requests).toMatchObject([{ method: "POST", path: "/token" }]);
    expect(Object.fromEntries(new URLSearchParams(realm.requests[0]?.body))).toEqual({
      grant_type: "refresh_token",
      client_id: "pyro",
      service: "reg",
      scope: "repository:tool:pull",
      refresh_token: SECRET,
    });
  });

  it("that ends in the middle of a pull is renewed once, whoever needs it", async () => {
    let current = 0;
    give = () => ({ body: { token: `${TOKEN}-${(current += 1)}` } });
    taken = (authorization) => authorization === `Bearer ${TOKEN}-${current}`;
    const before = at.registry.fault;
    at.registry.fault = async (request, response, times) => {
      // With the first blob all tokens of before are worth nothing.
      if (request.path.includes("/blobs/") && current === 1) {
        response.writeHead(401, { "www-authenticate": challenge }).end();
        return true;
      }
      return (await before?.(request, response, times)) === true;
    };
    await pull();
    expect(realm.requests).toHaveLength(2);
  });

  it("that is near its end is renewed before it is refused", async () => {
    let laterMs = 0;
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + laterMs);
    const before = at.registry.fault;
    at.registry.fault = async (request, response, times) => {
      // Without a longer word it lives for a minute.
      if (request.path.includes("/manifests/") && request.headers.authorization !== undefined)
        laterMs = 56_000;
      return (await before?.(request, response, times)) === true;
    };
    give = () => ({ body: { token: TOKEN, expires_in: 1 } });
    await pull();
    clock.mockRestore();
    expect(realm.requests).toHaveLength(2);
    expect(at.registry.requests.filter(({ headers }) => headers.authorization === undefined)).toHaveLength(1);
  });

  it.each([
    ["is refused", { status: 401 }, "REGISTRY_UNAUTHORIZED"],
    ["is no JSON", { body: `<${TOKEN}>` }, "REGISTRY_PROTOCOL_ERROR"],
    ["is missing", { body: { expires_in: 5 } }, "REGISTRY_PROTOCOL_ERROR"],
    ["would break out of its header", { body: { token: "a\r\nx: y" } }, "REGISTRY_PROTOCOL_ERROR"],
    ["is too long", { body: { token: "x".repeat(300_000) } }, "REGISTRY_PROTOCOL_ERROR"],
    [
      "is said to be elsewhere",
      { status: 307, headers: { location: "https://other.example.org/" } },
      "REGISTRY_PROTOCOL_ERROR",
    ],
  ])("that %s fails by name, at once", async (_, answer, code) => {
    give = () => answer;
    expect(await at.failure("tool:1", loggedIn())).toMatchObject({ code });
    expect(realm.requests).toHaveLength(1);
  });

  it("that the registry does not take is asked for once more, not for ever", async () => {
    taken = () => false;
    expect(await at.failure("tool:1", loggedIn())).toMatchObject({
      code: "REGISTRY_UNAUTHORIZED",
      hint: expect.stringContaining("podman login localhost") as string,
    });
    expect([at.registry.requests.length, realm.requests.length]).toEqual([2, 1]);
  });

  it("and the login are in nothing that is told", async () => {
    const told: unknown[] = [];
    const pulls = loggedIn();
    const failures = [];
    taken = () => false;
    failures.push(await at.failure("tool:1", pulls));
    give = (request) => ({ status: 401, body: request });
    failures.push(await at.failure("tool:1", pulls));
    give = () => ({ body: { token: TOKEN } });
    const { fault } = at.registry;
    at.registry.fault = (request, response, times) => {
      taken = (authorization) => authorization === `Bearer ${TOKEN}`;
      if (request.headers.authorization === undefined)
        return (fault ?? (() => false))(request, response, times);
      response.writeHead(503, { "x-seen": JSON.stringify(request.headers) }).end(JSON.stringify(request));
      return true;
    };
    await pulls
      .pull(`${at.registry.name}/tool:1`, { onProgress: (progress) => told.push(progress) })
      .catch((error: unknown) => failures.push(error));
    expect(failures).toHaveLength(3);
    for (const error of failures as Error[]) {
      told.push(error, error.message, error.stack, String((error.cause as Error | undefined)?.stack));
    }
    const text = JSON.stringify(told);
    for (const secret of [SECRET, TOKEN, BASIC, BASIC.slice(6)]) expect(text).not.toContain(secret);
  });
});

describe("a login by Basic", () => {
  beforeEach(() => {
    challenge = 'Basic realm="registry"';
    taken = (authorization) => authorization === BASIC;
  });

  it("goes to the registry itself", async () => {
    await pull();
    expect(at.registry.requests.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      BASIC,
      BASIC,
      BASIC,
    ]);
  });

  it("that is refused, or is not there, fails after one try", async () => {
    taken = () => false;
    expect(await at.failure("tool:1", loggedIn())).toMatchObject({ code: "REGISTRY_UNAUTHORIZED" });
    expect(await at.failure("tool:1")).toMatchObject({ code: "REGISTRY_UNAUTHORIZED" });
    expect(at.registry.requests).toHaveLength(3);
  });
});

describe("credentials", () => {
  it.each([
    ["a realm without TLS", () => `Bearer realm="http://auth.example.org/token"`, "has no TLS"],
    [
      "a realm with a login in it",
      () => `Bearer realm="https://a:b@auth.example.org/token"`,
      "credentials in it",
    ],
    ["a realm that is no address", () => `Bearer realm="token"`, "it is no address"],
  ])("are not given to %s", async (_, makeChallenge, problem) => {
    challenge = makeChallenge();
    expect(await at.failure("tool:1", loggedIn())).toMatchObject({
      code: "REGISTRY_REALM_REFUSED",
      message: expect.stringContaining(problem) as string,
    });
    expect(at.registry.requests).toHaveLength(1);
  });

  it("are not given to another realm than the first", async () => {
    const pulls = loggedIn();
    await pull(pulls);
    await using other = await FakeRegistry.start();
    challenge = `Bearer realm="${other.url}/token",service="reg"`;
    at.registry.addImage("tool", "2");
    expect(await at.failure("tool:2", pulls)).toMatchObject({
      code: "REGISTRY_REALM_REFUSED",
      message: expect.stringContaining("where it sent us before") as string,
    });
    expect(other.requests).toEqual([]);
  });

  it("do not go along to another place, whatever that asks for, and its answer is its own", async () => {
    await using elsewhere = await FakeRegistry.start();
    for (const [digest, bytes] of at.registry.blobs) elsewhere.blobs.set(digest, bytes);
    const { fault } = at.registry;
    at.registry.fault = (request, response, times) => {
      if (!request.path.includes("/blobs/") || request.headers.authorization === undefined) {
        return (fault ?? (() => false))(request, response, times);
      }
      response.writeHead(307, { location: `${elsewhere.url}${request.path}` }).end();
      return true;
    };
    await pull();
    expect(elsewhere.requests).toHaveLength(2);
    expect(elsewhere.requests.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);

    elsewhere.fault = (_, response) => {
      response.writeHead(401, { "www-authenticate": `Basic realm="x", ${challenge}` }).end();
      return true;
    };
    at.registry.addImage("tool", "2", { config: { x: 1 } });
    expect(await at.failure("tool:2", loggedIn())).toMatchObject({ code: "REGISTRY_UNAUTHORIZED" });
    expect(elsewhere.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    expect(elsewhere.requests).toHaveLength(3);
  });

  it("are not given to a registry without TLS elsewhere", async () => {
    const { Authorization } = await import("../../../src/oci/authorization.js");
    const { HttpTransport } = await import("../../../src/oci/transport.js");
    await using transport = new HttpTransport();
    let asked = 0;
    const authorization = new Authorization({
      transport,
      endpoint: {
        name: "r.example.org",
        base: "http://r.example.org",
        logins: ["r.example.org"],
        isMirror: false,
      },
      repository: "tool",
      source: () => Promise.resolve(((asked += 1), PASSWORD)),
      realms: new Map(),
    });
    const { signal } = new AbortController();
    await expect(authorization.answer(['Basic realm="x"'], undefined, signal)).rejects.toMatchObject({
      code: "REGISTRY_UNAUTHORIZED",
    });
    for (const realmUrl of [`${realm.url}/token`, "http://r.example.org/token"]) {
      await expect(
        authorization.answer([`Bearer realm="${realmUrl}"`], undefined, signal),
      ).rejects.toMatchObject({ code: "REGISTRY_REALM_REFUSED" });
    }
    // Whoever is in between may have named that realm.
    const between = authorization.answer([`Bearer realm="https://auth.invalid/token"`], undefined, signal);
    await expect(between).rejects.toMatchObject({ code: expect.stringMatching(/^REGISTRY_/) as string });
    expect([asked, realm.requests.length]).toEqual([0, 0]);
    expect(await authorization.header(signal)).toBeUndefined();
  });
});

describe("a redirect", () => {
  it.each([
    ["to a place without TLS", "http://cdn.example.org/x", "REGISTRY_REDIRECT_REFUSED"],
    ["to no place", undefined, "REGISTRY_PROTOCOL_ERROR"],
    ["to a login", "https://a:b@cdn.example.org/x", "REGISTRY_REDIRECT_REFUSED"],
    ["to a file", "file:///etc/passwd", "REGISTRY_REDIRECT_REFUSED"],
    ["in a circle", "/v2/tool/manifests/1", "REGISTRY_REDIRECT_REFUSED"],
  ])("%s is not followed", async (_, location, code) => {
    at.registry.fault = (_request, response) => {
      response.writeHead(302, location === undefined ? {} : { location }).end();
      return true;
    };
    const error = await at.failure("tool:1");
    expect(error).toMatchObject({ code });
    expect(JSON.stringify(error)).not.toContain("a:b");
    expect(at.registry.requests.length).toBeLessThan(8);
  });
});

it("challenges are read as HTTP writes them, Bearer before Basic", () => {
  const bearer = { scheme: "bearer", realm: "https://a/t", service: "s", scopes: ["x:y:pull", "z"] };
  expect(challengeOf(['Bearer realm="https://a/t",service="s",scope="x:y:pull z"'])).toEqual(bearer);
  expect(
    challengeOf(['Basic realm="r, x=y", bEARER scope="x:y:pull z" , service=s,,REALM="https://a/t"']),
  ).toEqual(bearer);
  expect(challengeOf(["Basic realm=x", 'Bearer realm="a\\"b"'])).toMatchObject({ realm: 'a"b' });
  expect(challengeOf(['Bearer service="s"', 'Basic realm="x"'])).toEqual({ scheme: "basic" });
  expect(challengeOf(["Negotiate abc==", "Digest realm=x"])).toBeUndefined();
  expect(challengeOf([])).toBeUndefined();
  expect(challengeOf(['Bearer realm="never ends'])).toBeUndefined();
  expect(challengeOf([",".repeat(100_000) + 'Basic realm="x"'])).toBeUndefined();
});
