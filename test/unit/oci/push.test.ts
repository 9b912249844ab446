import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  describeImage,
  digestOf,
  ImagePushes,
  parsePushReference,
  type Credentials,
  type ImagePushesOptions,
  type LocalImage,
} from "../../../src/oci/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { FakePushRegistry, type PushFault } from "../../fakes/fake-push-registry.js";
import { FakeRegistry, tarOf } from "../../fakes/fake-registry.js";

const LAYER_BYTES = 900_000;

let directory: string;
let registry: FakePushRegistry;
let image: LocalImage;
let layer: Buffer;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-push-unit-"));
  registry = await FakePushRegistry.start();
  layer = tarOf(3, LAYER_BYTES);
  const path = join(directory, "layer");
  await writeFile(path, layer);
  image = describeImage({
    platform: { os: "linux", architecture: "amd64" },
    config: { env: ["A=b"], user: "", workingDir: "/w", entrypoint: [], cmd: ["sh"] },
    createdAtMs: 1_700_000_000_000,
    layers: [
      { path, digest: digestOf(layer), sizeBytes: layer.length, diffId: digestOf(Buffer.from("tar")) },
    ],
    createdBy: "a test",
    annotations: { "org.opencontainers.image.title": "mine" },
  });
});
afterEach(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

interface Pushed extends ImagePushesOptions {
  readonly to?: string;
  readonly what?: LocalImage;
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytesDone: number, waiting: boolean) => void;
}
async function push({ to, what = image, signal, onProgress, ...options }: Pushed = {}) {
  await using pushes = new ImagePushes({
    registries: { insecure: [registry.name] },
    retry: { firstMs: 5 },
    ...options,
  });
  const reference = parsePushReference(to ?? `${registry.name}/team/tool:1`);
  return await pushes.push(reference, what, {
    signal: signal ?? new AbortController().signal,
    onProgress: ({ bytesDone, waiting }) => onProgress?.(bytesDone, waiting !== undefined),
  });
}
const failure = async (options: Pushed = {}): Promise<PyroError> =>
  await push(options).then(
    () => expect.fail("it was pushed"),
    (error: unknown) => PyroError.from(error),
  );
/** Answers what fits so, the first time or each time. */
function answer(
  method: string,
  path: RegExp,
  reply: (response: ServerResponse) => void,
  times = Infinity,
): PushFault {
  let left = times;
  return (request, response, incoming) => {
    if (request.method !== method || !path.test(request.path) || left <= 0) return false;
    left -= 1;
    incoming.resume();
    reply(response);
    return true;
  };
}

describe("an image", () => {
  it("is sent blob by blob, and its manifest last", async () => {
    const told: number[] = [];
    const pushed = await push({ onProgress: (bytes) => told.push(bytes) });
    expect(registry.seen).toEqual([
      "HEAD team/tool/blobs/DIGEST",
      "POST team/tool/blobs/uploads/",
      "PATCH team/tool/blobs/uploads/U",
      "PUT team/tool/blobs/uploads/U",
      "HEAD team/tool/blobs/DIGEST",
      "POST team/tool/blobs/uploads/",
      "PATCH team/tool/blobs/uploads/U",
      "PUT team/tool/blobs/uploads/U",
      "PUT team/tool/manifests/1",
    ]);
    const manifest = registry.manifests.get("team/tool:1");
    expect(pushed).toEqual({
      reference: `${registry.name}/team/tool:1`,
      digest: digestOf(manifest?.bytes ?? Buffer.alloc(0)),
      sizeBytes: LAYER_BYTES,
      uploadedBytes: LAYER_BYTES + image.config.sizeBytes,
    });
    expect(JSON.parse(manifest?.bytes.toString() ?? "")).toEqual({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: image.config.digest,
        size: image.config.sizeBytes,
      },
      layers: [
        {
          mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
          digest: digestOf(layer),
          size: LAYER_BYTES,
        },
      ],
      annotations: {
        "org.opencontainers.image.created": "2023-11-14T22:13:20.000Z",
        "org.opencontainers.image.title": "mine",
      },
    });
    expect(JSON.parse(registry.blobs.get(image.config.digest)?.toString() ?? "")).toEqual({
      created: "2023-11-14T22:13:20.000Z",
      ...{ os: "linux", architecture: "amd64" },
      config: { Env: ["A=b"], WorkingDir: "/w", Cmd: ["sh"] },
      rootfs: { type: "layers", diff_ids: [digestOf(Buffer.from("tar"))] },
      history: [{ created: "2023-11-14T22:13:20.000Z", created_by: "a test" }],
    });
    expect(manifest?.mediaType).toBe("application/vnd.oci.image.manifest.v1+json");
    expect(told.at(-1)).toBe(LAYER_BYTES + image.config.sizeBytes);
    expect(told).toEqual([...told].sort((one, other) => one - other));
    // The query that the registry put behind its place is sent back to the byte.
    const put = registry.requests.find(({ method, path }) => method === "PUT" && path.includes("uploads"));
    expect(put?.path).toContain(`?_state=a%2Bb%3D&digest=sha256%3A`);
  });

  it("that is there already is not sent again", async () => {
    await push();
    const before = registry.received;
    expect(await push({ to: `${registry.name}/team/tool:2` })).toMatchObject({ uploadedBytes: 0 });
    expect(registry.received).toBe(before);
    expect(registry.manifests.has("team/tool:2")).toBe(true);
  });

  it("whose layer another repository of the registry has takes it from there", async () => {
    registry.mountable.add(`team/base@${digestOf(layer)}`);
    registry.blobs.set(digestOf(layer), layer);
    registry.fault = answer("HEAD", /./, (response) => response.writeHead(404).end());
    const what = { ...image, origin: { registry: registry.name, repository: "team/base" } };
    expect(await push({ what })).toMatchObject({ uploadedBytes: image.config.sizeBytes });
    expect(registry.requests[1]?.path).toContain(
      `mount=${encodeURIComponent(digestOf(layer))}&from=team%2Fbase`,
    );
    // Of another registry nothing can be taken.
    registry.requests.length = 0;
    await push({ what: { ...image, origin: { registry: "registry.test", repository: "team/base" } } });
    expect(registry.requests[1]?.path).toBe("/v2/team/tool/blobs/uploads/");
  });

  it("never goes to a mirror", async () => {
    await using mirror = await FakeRegistry.start();
    await push({ registries: { insecure: [registry.name], mirrors: { [registry.name]: [mirror.url] } } });
    expect(mirror.requests).toEqual([]);
    expect(registry.manifests.size).toBe(1);
  });
});

describe("an upload", () => {
  it("that is cut goes on where it was, if the registry can say where", async () => {
    registry.cutAfter = 300_000;
    let waits = 0;
    await push({ onProgress: (_, waiting) => (waits += waiting ? 1 : 0) });
    expect(waits).toBe(1);
    expect(registry.received).toBe(LAYER_BYTES + image.config.sizeBytes);
    const [, second] = registry.requests.filter(({ method }) => method === "PATCH");
    expect(second?.headers["content-range"]).toMatch(new RegExp(`^\\d{6}-${LAYER_BYTES - 1}$`));
    expect(registry.blobs.get(digestOf(layer))?.equals(layer)).toBe(true);
  });

  it("that is cut begins anew, if it cannot", async () => {
    registry.cutAfter = 300_000;
    registry.tellsStatus = false;
    await push();
    expect(registry.received).toBeGreaterThan(LAYER_BYTES + 300_000);
    expect(registry.blobs.get(digestOf(layer))?.equals(layer)).toBe(true);
  });

  it("whose end the registry did not tell is found done", async () => {
    registry.fault = (request, response, incoming) => {
      if (request.method !== "PUT" || !request.path.includes("uploads") || registry.blobs.size > 0)
        return false;
      registry.blobs.set(digestOf(layer), layer);
      incoming.socket.destroy();
      return true;
    };
    await push();
    expect(registry.seen.filter((line) => line.startsWith("PATCH"))).toHaveLength(2);
  });

  it.each([
    ["500", 500, {}],
    ["503 with a time", 503, { "retry-after": "0" }],
    ["429", 429, {}],
  ])("that the registry fails by %s is tried again", async (_, status, headers) => {
    for (const [method, path] of [
      ["HEAD", /blobs/],
      ["POST", /uploads/],
      ["PATCH", /uploads/],
      ["PUT", /uploads/],
      ["PUT", /manifests/],
    ] as const) {
      registry.manifests.clear();
      registry.blobs.clear();
      registry.fault = answer(method, path, (response) => response.writeHead(status, headers).end(), 1);
      await push();
      expect(registry.manifests.size).toBe(1);
    }
  });

  it("that arrives damaged is sent anew, and told when it stays so", async () => {
    const invalid = (response: ServerResponse) =>
      response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID"}]}');
    registry.fault = answer("PUT", /uploads/, invalid, 1);
    await push();
    expect(registry.received).toBe(2 * LAYER_BYTES + image.config.sizeBytes);
    registry.blobs.clear();
    registry.fault = answer("PUT", /uploads/, invalid);
    expect(await failure()).toMatchObject({
      code: "BLOB_DIGEST_MISMATCH",
      hint: expect.stringContaining("between this host and the registry") as string,
    });
  });

  it("of a file that became another is this host's fault, and is not tried again", async () => {
    await truncate(join(directory, "layer"), 100_000);
    expect(await failure()).toMatchObject({
      code: "INTERNAL",
      message: expect.stringContaining("100000") as string,
    });
    expect(registry.seen.filter((line) => line.startsWith("PATCH"))).toHaveLength(1);
    await rm(join(directory, "layer"));
    expect((await failure()).message).toContain("ENOENT");
    expect(registry.manifests.size).toBe(0);
  });

  it("ends with its signal, at once", async () => {
    const controller = new AbortController();
    registry.fault = (request) => {
      if (request.method !== "PATCH") return false;
      setTimeout(() => controller.abort(new PyroError("CANCELLED", "enough", { hint: "again" })), 20);
      return true;
    };
    expect(await failure({ signal: controller.signal })).toMatchObject({ code: "CANCELLED" });
    expect(registry.manifests.size).toBe(0);
  });
});

describe("a registry that refuses", () => {
  it.each([
    ["uploads", "POST", /uploads/, 401, "", "REGISTRY_UNAUTHORIZED", "podman login"],
    ["uploads", "POST", /uploads/, 403, "DENIED", "REGISTRY_FORBIDDEN", "podman login"],
    ["uploads", "POST", /uploads/, 405, "UNSUPPORTED", "REGISTRY_READ_ONLY", "name a registry"],
    ["uploads", "POST", /uploads/, 400, "NAME_INVALID", "REGISTRY_PUSH_REFUSED", "OWNER/NAME"],
    ["uploads", "POST", /uploads/, 404, "NAME_UNKNOWN", "REGISTRY_PUSH_REFUSED", "make the repository"],
    ["a layer", "PATCH", /uploads/, 413, "", "REGISTRY_TOO_LARGE", "smaller"],
    ["a layer", "PUT", /uploads/, 413, "SIZE_INVALID", "REGISTRY_TOO_LARGE", "smaller"],
    ["a layer", "PUT", /uploads/, 507, "", "REGISTRY_QUOTA_EXCEEDED", "remove images"],
    ["the manifest", "PUT", /manifests/, 412, "DENIED", "REGISTRY_QUOTA_EXCEEDED", "remove images"],
    ["the manifest", "PUT", /manifests/, 409, "", "REGISTRY_PUSH_REFUSED", "another tag"],
    ["the manifest", "PUT", /manifests/, 400, "TAG_INVALID", "REGISTRY_PUSH_REFUSED", "OWNER/NAME"],
    [
      "the manifest",
      "PUT",
      /manifests/,
      400,
      "MANIFEST_INVALID",
      "REGISTRY_PUSH_REFUSED",
      "does not know OCI",
    ],
    ["the manifest", "PUT", /manifests/, 418, "", "REGISTRY_PROTOCOL_ERROR", "distribution API"],
    ["a layer", "PATCH", /uploads/, 500, "", "REGISTRY_FAILED", "try again"],
  ] as const)("%s (%s %s by %d %s) is told as %s", async (_, method, path, status, code, expected, hint) => {
    const words = "what the registry says <b>of s3cret</b>";
    registry.fault = answer(method, path, (response) => {
      response.writeHead(status).end(JSON.stringify({ errors: [{ code, message: words, detail: words }] }));
    });
    const error = await failure();
    expect(error).toMatchObject({ code: expected, hint: expect.stringContaining(hint) as string });
    expect(JSON.stringify(error)).not.toContain("s3cret");
    expect(registry.manifests.size).toBe(0);
  });

  it("by an error of endless words, or of none, is told all the same", async () => {
    registry.fault = answer("POST", /uploads/, (response) => {
      response.writeHead(403);
      const more = (): void => {
        if (!response.destroyed) response.write("x".repeat(65_536), () => setImmediate(more));
      };
      more();
    });
    expect(await failure()).toMatchObject({ code: "REGISTRY_FORBIDDEN" });
  });

  it("that tells another digest than that of the manifest is not believed", async () => {
    registry.fault = answer("PUT", /manifests/, (response) => {
      response.writeHead(201, { "docker-content-digest": digestOf(Buffer.from("other")) }).end();
    });
    expect(await failure()).toMatchObject({ code: "BLOB_DIGEST_MISMATCH" });
  });
});

describe("a login", () => {
  const SECRET = "s3cret-of-the-user";
  const credentials = (): Promise<Credentials> =>
    Promise.resolve({ kind: "password", username: "ann", password: SECRET });
  const basic = `Basic ${Buffer.from(`ann:${SECRET}`).toString("base64")}`;

  it("by a token is for pushing to this repository, and for pulling from the one that has a layer", async () => {
    await using realm = await FakeRegistry.start();
    const scopes: string[][] = [];
    realm.fault = ({ path }, response) => {
      scopes.push(new URL(path, realm.url).searchParams.getAll("scope"));
      response.end(JSON.stringify({ token: `t${scopes.length}` }));
      return true;
    };
    registry.fault = ({ method, headers, path }, response, incoming) => {
      const needed = method === "HEAD" ? ["t1", "t2"] : ["t2"];
      if (needed.some((token) => headers.authorization === `Bearer ${token}`)) return false;
      const from = path.includes("from=") ? " repository:team/base:pull,push" : "";
      const scope = method === "HEAD" ? "repository:team/tool:pull" : `repository:team/tool:pull,push${from}`;
      incoming.resume();
      response
        .writeHead(401, { "www-authenticate": `Bearer realm="${realm.url}/token",scope="${scope}"` })
        .end();
      return true;
    };
    await push({
      credentials,
      what: { ...image, origin: { registry: registry.name, repository: "team/base" } },
    });
    expect(scopes).toEqual([
      ["repository:team/tool:pull,push"],
      ["repository:team/tool:pull,push", "repository:team/base:pull"],
    ]);
    expect(realm.requests.every(({ headers }) => headers.authorization === basic)).toBe(true);
  });

  it("goes to the registry, and not along to where it says that uploads go", async () => {
    await using elsewhere = await FakePushRegistry.start();
    const auth: (string | undefined)[] = [];
    elsewhere.fault = ({ headers, method, path }, response, incoming) => {
      auth.push(headers.authorization);
      incoming.resume();
      incoming.on("end", () => response.writeHead(method === "PATCH" ? 202 : 201, { location: path }).end());
      return true;
    };
    registry.uploadsAt = `http://${elsewhere.name}`;
    registry.fault = ({ headers, path, method }, response, incoming) => {
      if (headers.authorization !== basic) {
        incoming.resume();
        response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
        return true;
      }
      if (!path.includes("manifests") || method !== "PUT") return false;
      incoming.resume();
      response.writeHead(201).end();
      return true;
    };
    await push({ credentials });
    expect(auth).toHaveLength(4);
    expect(auth.every((value) => value === undefined)).toBe(true);
  });

  it.each([
    ["with a password in it", "http://ann:pw@127.0.0.1:1", "REGISTRY_REDIRECT_REFUSED"],
    ["on another host without TLS", "http://registry.test", "REGISTRY_REDIRECT_REFUSED"],
    ["of another kind", "ftp://registry.test", "REGISTRY_REDIRECT_REFUSED"],
  ])("is not followed by an upload to a place %s", async (_, place, code) => {
    registry.uploadsAt = place;
    expect(await failure()).toMatchObject({ code });
  });

  it("that may not push is found out before anything is packed, and the try leaves no upload", async () => {
    await using pushes = new ImagePushes({
      registries: { insecure: [registry.name] },
      retry: { firstMs: 5 },
    });
    const reference = parsePushReference(`${registry.name}/team/tool:1`);
    const { signal } = new AbortController();
    await pushes.check(reference, signal);
    expect(registry.seen).toEqual(["POST team/tool/blobs/uploads/", "DELETE team/tool/blobs/uploads/U"]);
    expect(registry.openUploads).toBe(0);
    registry.fault = answer("POST", /./, (response) => response.writeHead(403).end());
    await expect(pushes.check(reference, signal)).rejects.toMatchObject({ code: "REGISTRY_FORBIDDEN" });
  });
});

describe("the place to push to", () => {
  it.each([
    ["tool", "owner"],
    [`registry.test/tool@sha256:${"1".repeat(64)}`, "name a tag"],
    ["registry.test/Tool", "capital"],
    ["https://registry.test/tool", "scheme"],
  ])("%s is refused", (text, says) => {
    try {
      parsePushReference(text);
      expect.fail("it was taken");
    } catch (error) {
      const { code, message, hint } = PyroError.from(error);
      expect(code).toBe("IMAGE_REFERENCE_INVALID");
      expect(`${message} ${hint}`).toContain(says);
    }
  });

  it("has a tag, and its registry", () => {
    expect(parsePushReference("team/tool", "registry.test")).toMatchObject({
      registry: "registry.test",
      tag: "latest",
    });
    expect(parsePushReference("registry.test/tool:2")).toMatchObject({ repository: "tool", tag: "2" });
  });
});
