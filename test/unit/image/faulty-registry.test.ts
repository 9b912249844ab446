import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EnvironmentPulls, EnvironmentStore, layoutOf, loadCatalogue } from "../../../src/image/index.js";
import { BlobStore, digestOf, ImagePulls, type Credentials } from "../../../src/oci/index.js";
import { LIMITS, PyroError, type ErrorCode } from "../../../src/protocol/index.js";
import {
  FakeRegistry,
  OCI_INDEX,
  OCI_MANIFEST,
  tarOf,
  type FakeImage,
  type Fault,
} from "../../fakes/fake-registry.js";
import { FakeBuilder } from "./fake-builder.js";
import { FakeLayers } from "./fake-layers.js";
import { fakeHost, type FakeHost } from "./fake-host.js";

const LOGIN: Credentials = { kind: "password", username: "ann", password: "do-not-tell" };
let registry: FakeRegistry;
/** Another host, which no login and no request belongs to. */
let foreign: FakeRegistry;
let host: FakeHost;
let directory: string;
let blobs: BlobStore;
let images: ImagePulls;
let store: EnvironmentStore;
let builder: FakeBuilder;
let pulls: EnvironmentPulls;

beforeEach(async () => {
  registry = await FakeRegistry.start();
  foreign = await FakeRegistry.start();
  host = await fakeHost({ mmdebstrap: false });
  directory = await mkdtemp(join(tmpdir(), "pyro-faulty-registry-"));
  blobs = await BlobStore.open(join(directory, "oci"));
  images = new ImagePulls({
    store: blobs,
    registries: { insecure: [registry.name] },
    credentials: () => Promise.resolve(LOGIN),
    retry: { firstMs: 1, attempts: 2 },
    transport: { headersMs: 300, idleMs: 300 },
  });
  store = new EnvironmentStore(await loadCatalogue(host.catalogueDirectory), layoutOf(host.cache));
  builder = new FakeBuilder();
  pulls = new EnvironmentPulls({
    layers: new FakeLayers(),
    ...{ store, builder, host: host.programs },
    images: () => Promise.resolve(images),
  });
});
afterEach(async () => {
  await pulls.close();
  await images[Symbol.asyncDispose]();
  await blobs[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
  await foreign[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const name = (): string => `${registry.name}/team/tool:1`;
const list = async (path: string): Promise<string[]> => await readdir(path).catch(() => []);

type Answer = (response: ServerResponse, bytes: Buffer) => unknown;
/** How each layer is answered. */
const layers =
  (answer: Answer): Fault =>
  ({ path }, response) => {
    const bytes = registry.blobs.get(path.split("/").at(-1) ?? "");
    // The configuration is the only small blob.
    if (!path.includes("/blobs/") || bytes === undefined || bytes.length < 10_000) return false;
    answer(response, bytes);
    return true;
  };
/** How the tag is answered. */
const tag =
  (answer: Answer): Fault =>
  ({ path }, response) => {
    if (!path.endsWith("/manifests/1")) return false;
    answer(response, Buffer.alloc(0));
    return true;
  };
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(code, headers).end("what the registry says");
const index = (manifests: readonly object[]) => () =>
  registry.addDocument("team/tool", "1", { schemaVersion: 2, manifests }, OCI_INDEX);
const image = (given: FakeImage) => () => registry.addImage("team/tool", "1", given);
const withLayer = (change: object): FakeImage => ({
  change: (manifest) => ({
    ...manifest,
    layers: (manifest["layers"] as object[]).map((layer) => ({ ...layer, ...change })),
  }),
});

interface Case {
  /** What the registry has; a good image by default. */
  readonly has?: () => unknown;
  readonly fault?: () => Fault;
  readonly code: ErrorCode;
  readonly hint: string;
  /** Of what was fetched, a part is of use to the next pull. */
  readonly keepsPart?: boolean;
}

const entry = { mediaType: OCI_MANIFEST, digest: digestOf(Buffer.from("x")), size: 1 };
const CASES: Readonly<Record<string, Case>> = {
  // Who gets what.
  "wants a login elsewhere, without TLS": {
    fault: () =>
      tag(status(401, { "www-authenticate": 'Bearer realm="http://login.example.org/token",service="x"' })),
    ...{ code: "REGISTRY_REALM_REFUSED", hint: "tell the registry's owner" },
  },
  "takes no login": {
    fault: () => tag(status(401, { "www-authenticate": 'Basic realm="x"' })),
    ...{ code: "REGISTRY_UNAUTHORIZED", hint: "podman login localhost" },
  },
  "sends us on without TLS": {
    fault: () => layers(status(307, { location: "http://cdn.example.org/x" })),
    ...{ code: "REGISTRY_REDIRECT_REFUSED", hint: "tell the registry's owner" },
  },
  // What comes is not what was named.
  "gives a layer of other bytes": {
    fault: () => layers((response, bytes) => response.end(Buffer.alloc(bytes.length))),
    ...{ code: "BLOB_DIGEST_MISMATCH", hint: "push the image anew" },
  },
  "gives less of a layer": {
    fault: () => layers((response, bytes) => response.end(bytes.subarray(0, 5000))),
    ...{ code: "BLOB_SIZE_MISMATCH", hint: "push the image anew" },
  },
  "gives more of a layer": {
    fault: () => layers((response, bytes) => response.end(Buffer.concat([bytes, bytes]))),
    ...{ code: "BLOB_SIZE_MISMATCH", hint: "push the image anew" },
  },
  "breaks off in each layer": {
    fault: () =>
      layers((response, bytes) => {
        response.writeHead(200, { "content-length": bytes.length });
        response.write(bytes.subarray(0, 20_000));
      }),
    ...{ code: "BLOB_TRUNCATED", hint: "try again: what was fetched is kept", keepsPart: true },
  },
  "has lost a layer": {
    fault: () => layers(status(404)),
    ...{ code: "BLOB_NOT_FOUND", hint: "check the name and the tag" },
  },
  "answers a range with another": {
    fault: () =>
      layers((response, bytes) =>
        response.writeHead(206, { "content-range": `bytes 5-9/${bytes.length}` }).end("12345"),
      ),
    ...{ code: "REGISTRY_PROTOCOL_ERROR", hint: "OCI distribution API" },
  },
  "gives another manifest than its digest says": {
    fault: () => tag((response) => response.setHeader("docker-content-digest", entry.digest).end("{}")),
    ...{ code: "BLOB_DIGEST_MISMATCH", hint: "push the image anew" },
  },
  // What it has is no image of today, or none at all.
  "has a manifest beyond 4 MiB": {
    fault: () => tag((response) => response.end(Buffer.alloc(LIMITS.imageManifestBytes + 1, 0x20))),
    ...{ code: "IMAGE_LIMIT_EXCEEDED", hint: "this bound is fixed" },
  },
  "has an index of too many": {
    has: () => index(Array.from({ length: LIMITS.imageIndexEntries + 1 }, () => entry))(),
    ...{ code: "IMAGE_LIMIT_EXCEEDED", hint: "this bound is fixed" },
  },
  "has a manifest that is no JSON": {
    has: () => registry.addDocument("team/tool", "1", Buffer.from("{"), OCI_MANIFEST),
    ...{ code: "IMAGE_MANIFEST_INVALID", hint: "push the image anew by a current tool" },
  },
  "has schema 1": {
    has: () =>
      registry.addDocument(
        ...(["team/tool", "1", { schemaVersion: 1, fsLayers: [] }] as const),
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
      ),
    ...{ code: "IMAGE_FORMAT_NOT_SUPPORTED", hint: "push the image anew by a current tool" },
  },
  "has a layer of another kind": {
    has: () => image(withLayer({ mediaType: "application/x-disk" }))(),
    ...{ code: "IMAGE_FORMAT_NOT_SUPPORTED", hint: "packed by gzip or zstd" },
  },
  "has another architecture": {
    has: () => image({ architecture: "riscv64" })(),
    ...{ code: "IMAGE_PLATFORM_NOT_FOUND", hint: "linux/amd64" },
  },
  "has a layer packed otherwise than it says": {
    has: () => image({ packed: [Buffer.concat([Buffer.from("28b52ffd", "hex"), tarOf(1)])] })(),
    ...{ code: "IMAGE_MANIFEST_INVALID", hint: "push the image anew by a current tool" },
  },
  "has a configuration of other layers": {
    has: () => image({ config: { rootfs: { type: "layers", diff_ids: [] } } })(),
    ...{ code: "IMAGE_CONFIG_INVALID", hint: "build the image anew" },
  },
  "has a tar of another diff ID": {
    has: () => image({ config: { rootfs: { type: "layers", diff_ids: [entry.digest] } } })(),
    ...{ code: "IMAGE_DIFF_ID_MISMATCH", hint: "ask who made the image" },
  },
  // It will not, or cannot.
  "has no such image": {
    has: () => undefined,
    ...{ code: "IMAGE_NOT_FOUND", hint: "check the name and the tag" },
  },
  forbids: {
    fault: () => tag(status(403)),
    ...{ code: "REGISTRY_FORBIDDEN", hint: "log in by `podman login" },
  },
  "is asked too often": {
    fault: () => tag(status(429, { "retry-after": "3600" })),
    ...{ code: "REGISTRY_RATE_LIMITED", hint: "try again in 3600 s" },
  },
  "is broken": {
    fault: () => tag(status(502)),
    ...{ code: "REGISTRY_FAILED", hint: "try again in a minute" },
  },
  "never answers": {
    fault: () => tag(() => undefined),
    ...{ code: "REGISTRY_TIMEOUT", hint: "that this host reaches it" },
  },
  "hangs up": {
    fault: () => tag((response) => response.destroy()),
    ...{ code: "REGISTRY_UNREACHABLE", hint: "that this host reaches it" },
  },
};

describe("a registry that", () => {
  it.each(Object.entries(CASES))(
    "%s is told by code and hint, and leaves no partial state",
    async (_what, given) => {
      (given.has ?? image({}))();
      registry.fault = given.fault?.();
      const error = await pulls.pull(name()).then(
        () => expect.fail("it was pulled"),
        (reason: unknown) => PyroError.from(reason),
      );
      expect(error).toMatchObject({ code: given.code, hint: expect.stringContaining(given.hint) as string });
      expect(error.hint).not.toBe("");
      // Neither the login nor the registry's own words go on.
      expect(JSON.stringify([error, error.cause])).not.toMatch(/do-not-tell|what the registry says/);

      expect(await store.manifests()).toEqual([]);
      expect(await list(store.layout.images)).toEqual([]);
      for (const place of await list(store.layout.pulls)) {
        expect(await list(join(store.layout.pulls, place))).toEqual(["lock"]);
      }
      const whole = join(directory, "oci/blobs/sha256");
      for (const hex of await list(whole)) {
        expect(digestOf(await readFile(join(whole, hex)))).toBe(`sha256:${hex}`);
      }
      expect(await list(join(directory, "oci/partial"))).toHaveLength(given.keepsPart === true ? 1 : 0);
      expect(builder.builds).toEqual([]);

      // As soon as it is mended, the same pull succeeds.
      registry.fault = undefined;
      image({})();
      expect((await pulls.pull(name())).environment.state).toBe("installed");
      expect(await list(store.layout.pulls)).toEqual([]);
      expect(await list(join(directory, "oci/partial"))).toEqual([]);
    },
  );

  it("names other addresses of a layer has them asked by nobody", async () => {
    image(withLayer({ urls: [`${foreign.url}/v2/team/tool/blobs/x`] }))();
    await pulls.pull(name());
    expect(foreign.requests).toEqual([]);
  });

  it("sends us on to another host sends no login along", async () => {
    image({})();
    for (const [digest, bytes] of registry.blobs) foreign.blobs.set(digest, bytes);
    const basic = `Basic ${Buffer.from("ann:do-not-tell").toString("base64")}`;
    registry.fault = ({ path, headers }, response) => {
      if (headers.authorization === undefined) {
        response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
        return true;
      }
      if (!path.includes("/blobs/")) return false;
      response.writeHead(307, { location: `${foreign.url}${path}` }).end();
      return true;
    };
    await pulls.pull(name());
    expect(registry.requests.some(({ headers }) => headers.authorization === basic)).toBe(true);
    expect(foreign.requests).toHaveLength(2);
    expect(JSON.stringify(foreign.requests)).not.toMatch(/authorization|do-not-tell/);
  });
});
