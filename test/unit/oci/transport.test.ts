import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { complete } from "../../../src/kit/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { retryAfterSeconds } from "../../../src/oci/retries.js";
import { FakeRegistry, tarOf } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";

let at: Pulling;
beforeEach(async () => {
  at = await pulling();
});
afterEach(async () => {
  await at[Symbol.asyncDispose]();
});

/** A key and a certificate that it signed itself. */
async function selfSigned(name: string, ...options: string[]): Promise<{ key: string; cert: string }> {
  const [key, cert] = [join(at.directory, `${name}.key`), join(at.directory, `${name}.pem`)];
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  const made = await complete("openssl", [...args, ...subject, "-keyout", key, "-out", cert, ...options]);
  expect(made.code, made.stderrTail).toBe(0);
  return { key: await readFile(key, "utf8"), cert: await readFile(cert, "utf8") };
}

describe("TLS", () => {
  it("of an authority that was named is trusted, and of any other it is not", async () => {
    const tls = await selfSigned("localhost");
    await using registry = await FakeRegistry.start(tls);
    registry.addImage("tool", "1");
    const reference = `${registry.name}/tool:1`;
    await expect(at.with({}).pull(reference)).rejects.toMatchObject({
      code: "REGISTRY_TLS_FAILED",
      message: expect.stringContaining("nobody that this host trusts") as string,
      hint: expect.stringContaining("NODE_EXTRA_CA_CERTS") as string,
    });
    expect(registry.requests).toEqual([]);
    await at.with({ transport: { certificates: [tls.cert] } }).pull(reference);
    const environment = { NODE_EXTRA_CA_CERTS: join(at.directory, "localhost.pem") };
    expect(await at.with({ transport: { environment } }).pull(reference)).toMatchObject({ reused: true });
  });

  it("for another name is refused by what is wrong with it", async () => {
    const other = await selfSigned("other.example.org");
    await using registry = await FakeRegistry.start(other);
    const pulls = at.with({ transport: { certificates: [other.cert] } });
    await expect(pulls.pull(`${registry.name}/tool:1`)).rejects.toMatchObject({
      code: "REGISTRY_TLS_FAILED",
      message: expect.stringContaining("for another name") as string,
    });
  });

  it("that the registry does not speak is told, with the way to allow that", async () => {
    const pulls = at.with({ registries: {} });
    const error: unknown = await pulls
      .pull(`${at.registry.name}/tool:1`)
      .catch((failure: unknown) => failure);
    expect(error).toMatchObject({
      code: "REGISTRY_TLS_FAILED",
      message: expect.stringContaining("does not speak TLS") as string,
      hint: expect.stringContaining(`insecure_registries = ["${at.registry.name}"]`) as string,
    });
    expect(at.registry.requests).toEqual([]);
  });
});

describe("a proxy of the environment", () => {
  let proxy: Server;
  let tunnels: string[];
  let status: number;
  beforeEach(async () => {
    tunnels = [];
    status = 200;
    proxy = createServer();
    proxy.on("connect", (request, socket) => {
      tunnels.push(`${request.url ?? ""} ${request.headers["proxy-authorization"] ?? ""}`);
      if (status !== 200) {
        socket.end(`HTTP/1.1 ${status} No\r\n\r\n`);
        return;
      }
      // Whatever name it is: the registry of this test.
      const up = connect(Number(new URL(at.registry.url).port), "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        socket.pipe(up).pipe(socket);
      });
      up.on("error", () => socket.destroy());
      socket.on("error", () => up.destroy());
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
  });
  afterEach(async () => {
    proxy.closeAllConnections();
    proxy.close();
    await once(proxy, "close");
  });
  const through = (environment: Record<string, string> = {}) => {
    const { port } = proxy.address() as AddressInfo;
    return at.with({
      registries: { insecure: ["registry.invalid"] },
      retry: { firstMs: 1, attempts: 1 },
      transport: { environment: { HTTP_PROXY: `http://ann:s3cret@127.0.0.1:${port}`, ...environment } },
    });
  };

  it("is gone through, with its login, and never to this machine itself", async () => {
    at.registry.addImage("tool", "1");
    await through().pull("registry.invalid/tool:1");
    const login = `Basic ${Buffer.from("ann:s3cret").toString("base64")}`;
    expect(new Set(tunnels)).toEqual(new Set([`registry.invalid:80 ${login}`]));
    const before = tunnels.length;
    const pulls = at.with({ transport: { environment: { HTTP_PROXY: "http://127.0.0.1:1" } } });
    await pulls.pull(`${at.registry.name}/tool:1`);
    expect(tunnels).toHaveLength(before);
  });

  it("that refuses is named, and its login is not", async () => {
    status = 407;
    const error: unknown = await through()
      .pull("registry.invalid/tool:1")
      .catch((failure: unknown) => failure);
    expect(error).toMatchObject({ code: "REGISTRY_PROXY_FAILED", details: { status: 407 } });
    expect(JSON.stringify(error) + String((error as Error).stack)).not.toContain("s3cret");
  });

  it("is left aside for what NO_PROXY names", async () => {
    const pulls = through({ NO_PROXY: "registry.invalid" });
    // The name does not exist: whoever looks it up finds that out by himself.
    await expect(pulls.pull("registry.invalid/tool:1")).rejects.toMatchObject({
      code: expect.stringMatching(/^REGISTRY_(UNREACHABLE|TIMEOUT)$/) as string,
    });
    expect(tunnels).toEqual([]);
  });
});

describe("a mirror", () => {
  it("is asked first, and the registry itself for what it has not, or has wrong", async () => {
    const image = at.registry.addImage("tool", "1", { layers: [tarOf(1), tarOf(2)] });
    await using mirror = await FakeRegistry.start();
    mirror.fault = ({ path }, response) => {
      const digest = path.split("/").at(-1) ?? "";
      if (path === "/cache/v2/tool/manifests/1") {
        const document = at.registry.documents.get("tool:1");
        response.writeHead(200, { "content-type": document?.mediaType }).end(document?.bytes);
      } else if (digest === image.layers[0]) response.end(at.registry.blobs.get(digest));
      else if (digest === image.layers[1])
        response.end(Buffer.alloc(at.registry.blobs.get(digest)?.length ?? 0));
      else response.writeHead(404).end();
      return true;
    };
    const registries = {
      insecure: [at.registry.name],
      mirrors: { [at.registry.name]: ["http://127.0.0.1:1", `${mirror.url}/cache/`] },
    };
    const pulls = at.with({ registries, retry: { firstMs: 1 } });
    expect(await pulls.pull(`${at.registry.name}/tool:1`)).toMatchObject({ manifestDigest: image.digest });
    const asked = at.registry.paths.map((path) => path.split("/").at(-1));
    expect(asked.sort()).toEqual([image.configDigest, image.layers[1]].sort());
  });

  it("leaves the registry's word the last", async () => {
    const mirrors = { [at.registry.name]: ["http://127.0.0.1:1"] };
    const pulls = at.with({ registries: { insecure: [at.registry.name], mirrors }, retry: { firstMs: 1 } });
    await expect(pulls.pull(`${at.registry.name}/tool:1`)).rejects.toMatchObject({ code: "IMAGE_NOT_FOUND" });
  });
});

it("a wait that a registry asks for is seconds or a date, and nothing else", () => {
  const now = Date.UTC(2026, 0, 1);
  expect(retryAfterSeconds("120", now)).toBe(120);
  expect(retryAfterSeconds(new Date(now + 90_000).toUTCString(), now)).toBe(90);
  expect(retryAfterSeconds(new Date(now - 90_000).toUTCString(), now)).toBe(0);
  for (const value of [undefined, "", "-1", "soon", "1.5", "2026-01-01", "9".repeat(30), "1, 2"]) {
    expect(retryAfterSeconds(value, now)).toBeUndefined();
  }
  expect(LIMITS.registryRetryAfterMs).toBeGreaterThan(0);
});
