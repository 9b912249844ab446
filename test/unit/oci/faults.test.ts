import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { digestOf } from "../../../src/oci/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { OCI_INDEX, OCI_MANIFEST, tarOf, type AddedImage, type Fault } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";

let at: Pulling;
beforeEach(async () => {
  at = await pulling();
});
afterEach(async () => {
  await at[Symbol.asyncDispose]();
});

const isLayer = ({ path }: { path: string }, image: AddedImage): boolean =>
  path.endsWith(image.layers[0] ?? "");
const layerOf = (image: AddedImage): Buffer =>
  at.registry.blobs.get(image.layers[0] ?? "") ?? Buffer.alloc(0);
/** How the layer is answered, the first time or each time. */
function faultOfLayer(
  image: AddedImage,
  answer: (response: ServerResponse, bytes: Buffer) => void,
  which: "first" | "each" = "each",
): void {
  at.registry.fault = (request, response, times) => {
    if (!isLayer(request, image) || (which === "first" && times > 0)) return false;
    answer(response, layerOf(image));
    return true;
  };
}
const requestsOf = (image: AddedImage) => at.registry.requests.filter((request) => isLayer(request, image));

describe("a blob", () => {
  it("with another digest is refused, has no place, and leaves no part", async () => {
    const image = at.registry.addImage("tool", "1");
    faultOfLayer(image, (response, bytes) => {
      const other = Buffer.from(bytes);
      other[50] = (other[50] ?? 0) ^ 1;
      response.end(other);
    });
    expect(await at.failure("tool:1")).toMatchObject({
      code: "BLOB_DIGEST_MISMATCH",
      message: expect.stringContaining("is not what its digest says") as string,
      hint: expect.stringContaining("push the image anew") as string,
      details: { expected: image.layers[0] },
    });
    expect(requestsOf(image)).toHaveLength(1);
    expect(await at.files("partial")).toEqual([]);
    expect(await at.files("blobs/sha256")).not.toContain(image.layers[0]?.slice(7));
  });

  it.each([
    [
      "too long by its head",
      (response: ServerResponse, bytes: Buffer) => response.end(Buffer.concat([bytes, bytes])),
      "more",
    ],
    [
      "too long without saying so",
      (response: ServerResponse, bytes: Buffer) => {
        response.write(bytes);
        response.end(Buffer.alloc(1));
      },
      "more",
    ],
    [
      "too short by its head",
      (response: ServerResponse, bytes: Buffer) => response.end(bytes.subarray(0, 1000)),
      1000,
    ],
    [
      "too short without saying so",
      (response: ServerResponse, bytes: Buffer) => {
        response.write(bytes.subarray(0, 500));
        response.end(bytes.subarray(500, 1000));
      },
      1000,
    ],
    ["empty", (response: ServerResponse) => response.end(), 0],
  ])("that is %s is refused at once, and leaves no part", async (_, answer, found) => {
    const image = at.registry.addImage("tool", "1");
    faultOfLayer(image, answer);
    expect(await at.failure("tool:1")).toMatchObject({
      code: "BLOB_SIZE_MISMATCH",
      retryable: false,
      details: { size_bytes: layerOf(image).length, found },
    });
    expect(requestsOf(image)).toHaveLength(1);
    expect(await at.files("partial")).toEqual([]);
  });

  it("that stops in the middle is gone on with; each time, it is truncated and its part is kept", async () => {
    const image = at.registry.addImage("tool", "1", { layers: [tarOf(1, 300_000)] });
    const cut = (response: ServerResponse, bytes: Buffer): void => {
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 100_000), () => setTimeout(() => response.destroy(), 20));
    };
    at.registry.fault = (request, response, times) => {
      if (!isLayer(request, image) || times > 0) return false;
      cut(response, layerOf(image));
      return true;
    };
    await at.pulls.pull(`${at.registry.name}/tool:1`);
    expect(requestsOf(image).map(({ headers }) => headers.range)).toEqual([undefined, "bytes=100000-"]);

    const other = at.registry.addImage("tool", "2", { layers: [tarOf(2, 300_000)] });
    at.registry.fault = (request, response) => {
      if (!isLayer(request, other)) return false;
      if (request.headers.range === undefined) cut(response, layerOf(other));
      else response.destroy();
      return true;
    };
    const error = await at.failure("tool:2");
    expect(error).toMatchObject({ code: "REGISTRY_UNREACHABLE", retryable: true });
    expect(requestsOf(other)).toHaveLength(LIMITS.registryAttempts);
    expect(await at.files("partial")).toEqual([other.layers[0]?.slice(7)]);
    at.registry.fault = (request, response) => {
      if (!isLayer(request, other)) return false;
      const { length } = layerOf(other);
      const from = Number(/\d+/.exec(request.headers.range ?? "")?.[0]);
      response.writeHead(206, {
        "content-range": `bytes ${from}-${length - 1}/${length}`,
        "content-length": length - from,
      });
      response.write(layerOf(other).subarray(from, from + 10), () =>
        setTimeout(() => response.destroy(), 10),
      );
      return true;
    };
    expect(await at.failure("tool:2")).toMatchObject({ code: "BLOB_TRUNCATED", retryable: true });
    expect(await at.files("partial")).toEqual([other.layers[0]?.slice(7)]);
  });

  it("that is not there is named, once", async () => {
    const image = at.registry.addImage("tool", "1");
    at.registry.blobs.delete(image.layers[0] ?? "");
    expect(await at.failure("tool:1")).toMatchObject({ code: "BLOB_NOT_FOUND" });
    expect(requestsOf(image)).toHaveLength(1);
  });

  it("packed otherwise than its manifest says is refused", async () => {
    at.registry.addImage("tool", "1", {
      layers: [tarOf(1)],
      change: (manifest) => {
        const [layer] = manifest["layers"] as object[];
        return {
          ...manifest,
          layers: [{ ...layer, mediaType: "application/vnd.oci.image.layer.v1.tar+zstd" }],
        };
      },
    });
    expect(await at.failure("tool:1")).toMatchObject({
      code: "IMAGE_MANIFEST_INVALID",
      message: expect.stringContaining("is packed by gzip, its manifest says packed by zstd") as string,
    });
  });
});

it("A blob that another image brought is refused where a manifest says another size of it", async () => {
  at.registry.addImage("tool", "1");
  await at.pulls.pull(`${at.registry.name}/tool:1`);
  for (const which of ["config", "layers"]) {
    const wrong = (descriptor: unknown): unknown => ({ ...(descriptor as { size: number }), size: 7 });
    at.registry.addImage("tool", which, {
      change: (manifest) => {
        const value = manifest[which];
        return { ...manifest, [which]: Array.isArray(value) ? value.map(wrong) : wrong(value) };
      },
    });
    expect(await at.failure(`tool:${which}`)).toMatchObject({
      code: "IMAGE_MANIFEST_INVALID",
      message: expect.stringContaining("its manifest says 7") as string,
    });
  }
});

describe("a download that goes on where another ended", () => {
  let image: AddedImage;
  beforeEach(async () => {
    image = at.registry.addImage("tool", "1", { layers: [tarOf(1, 300_000)] });
    // The first pull gets a third of it.
    const left = new AbortController();
    at.registry.fault = (request, response) => {
      if (!isLayer(request, image)) return false;
      response.writeHead(200, { etag: '"a"', "content-length": layerOf(image).length });
      response.write(layerOf(image).subarray(0, 100_000));
      return true;
    };
    const pull = at.pulls.pull(`${at.registry.name}/tool:1`, { signal: left.signal });
    pull.catch(() => undefined);
    await expect.poll(async () => (await at.store.usage()).partialBytes).toBeGreaterThanOrEqual(100_000);
    left.abort(new Error("left"));
    await expect(pull).rejects.toThrow("left");
    at.registry.requests.length = 0;
    at.registry.fault = undefined;
  });
  const ranges = (): (string | undefined)[] => requestsOf(image).map(({ headers }) => headers.range);
  const pull = async (): Promise<void> => {
    const { layers } = await at.pulls.pull(`${at.registry.name}/tool:1`);
    expect(layers.map(({ digest }) => digest)).toEqual(image.layers);
    expect(await at.files("partial")).toEqual([]);
  };

  it("asks for the rest", async () => {
    await pull();
    expect(ranges()).toEqual(["bytes=100000-"]);
  });

  it("takes the whole where the registry knows no ranges", async () => {
    at.registry.ranges = false;
    await pull();
    expect(ranges()).toEqual(["bytes=100000-"]);
  });

  const answers: [string, (response: ServerResponse, bytes: Buffer) => void][] = [
    [
      "another part",
      (response, bytes) => {
        response
          .writeHead(206, { "content-range": `bytes 0-${bytes.length - 1}/${bytes.length}` })
          .end(bytes);
      },
    ],
    ["a part without a word", (response, bytes) => response.writeHead(206).end(bytes.subarray(100_000))],
    ["416", (response) => response.writeHead(416).end()],
    [
      "wrong bytes of the right place",
      (response, bytes) => {
        const { length } = bytes;
        response.writeHead(206, { "content-range": `bytes 100000-${length - 1}/${length}` });
        response.end(Buffer.alloc(length - 100_000));
      },
    ],
  ];
  it.each(answers)("begins anew where it gets %s", async (_, answer) => {
    faultOfLayer(image, answer, "first");
    await pull();
    expect(ranges()).toEqual(["bytes=100000-", undefined]);
  });

  it.each(answers.slice(0, 3))("fails by name where it gets %s for ever", async (_, answer) => {
    faultOfLayer(image, answer);
    expect(await at.failure("tool:1")).toMatchObject({ code: "REGISTRY_PROTOCOL_ERROR" });
    expect(ranges().length).toBeLessThan(6);
    expect(await at.files("partial")).toEqual([]);
  });

  it("begins anew when the content changed between two answers of one download", async () => {
    let times = 0;
    at.registry.fault = (request, response) => {
      if (!isLayer(request, image)) return false;
      const bytes = layerOf(image);
      times += 1;
      if (times > 2) return false;
      const from = times === 1 ? 100_000 : 200_000;
      const range = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
      response.writeHead(206, {
        etag: `"${times}"`,
        "content-range": range,
        "content-length": bytes.length - from,
      });
      response.write(bytes.subarray(from, from + 100_000), () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    await pull();
    expect(ranges()).toEqual(["bytes=100000-", "bytes=200000-", undefined]);
    expect(requestsOf(image)[1]?.headers["if-range"]).toBe('"1"');
  });

  it("says so when the whole is another size", async () => {
    faultOfLayer(image, (response) =>
      response.writeHead(206, { "content-range": "bytes 100000-100001/5" }).end("xx"),
    );
    expect(await at.failure("tool:1")).toMatchObject({ code: "BLOB_SIZE_MISMATCH", details: { found: 5 } });
    expect(await at.files("partial")).toEqual([]);
  });

  it("ends where the server's wrong bytes never end", async () => {
    faultOfLayer(image, (response, bytes) => response.end(Buffer.alloc(bytes.length)));
    expect(await at.failure("tool:1")).toMatchObject({ code: "BLOB_DIGEST_MISMATCH" });
    expect(ranges().length).toBeLessThan(4);
  });
});

describe("an answer", () => {
  const answerTag = (answer: (response: ServerResponse) => void, times = Infinity): void => {
    const fault: Fault = ({ path }, response, before) => {
      if (!path.includes("/manifests/") || before >= times) return false;
      answer(response);
      return true;
    };
    at.registry.fault = fault;
  };
  const asked = (): number => at.registry.requests.length;

  it.each([
    [404, "IMAGE_NOT_FOUND", "check the name and the tag"],
    [403, "REGISTRY_FORBIDDEN", "podman login"],
    [400, "REGISTRY_PROTOCOL_ERROR", "distribution API"],
    [418, "REGISTRY_PROTOCOL_ERROR", "distribution API"],
  ])("%i is %s, at once and without a word of the registry's", async (status, code, hint) => {
    at.registry.addImage("tool", "1");
    answerTag((response) => response.writeHead(status).end("what the registry says"));
    const error = await at.failure("tool:1");
    expect(error).toMatchObject({ code, hint: expect.stringContaining(hint) as string });
    expect(JSON.stringify(error)).not.toContain("what the registry says");
    expect(asked()).toBe(1);
  });

  it.each([500, 502, 503, 504, 408])("%i is tried again, and named when it stays", async (status) => {
    at.registry.addImage("tool", "1");
    answerTag((response) => response.writeHead(status).end(), 2);
    await at.pulls.pull(`${at.registry.name}/tool:1`);
    answerTag((response) => response.writeHead(status).end());
    at.registry.requests.length = 0;
    expect(await at.failure("tool:1")).toMatchObject({
      code: "REGISTRY_FAILED",
      retryable: true,
      details: { status },
    });
    expect(asked()).toBe(LIMITS.registryAttempts);
  });

  it("429 is waited for as long as the registry asks, in seconds or until a date, and said meanwhile", async () => {
    at.registry.addImage("tool", "1");
    const waits: (number | undefined)[] = [];
    const pulls = at.with({ retry: { firstMs: 1, random: () => 0 } });
    const pull = async (): Promise<number> => {
      const begun = performance.now();
      await pulls.pull(`${at.registry.name}/tool:1`, {
        onProgress: ({ waiting }) => waits.push(waiting?.waitMs),
      });
      return performance.now() - begun;
    };
    answerTag((response) => response.writeHead(429, { "retry-after": "1" }).end(), 1);
    expect(await pull()).toBeGreaterThan(990);
    expect(waits).toContain(1000);
    at.registry.requests.length = 0;
    const date = new Date(Date.now() + 2_000).toUTCString();
    answerTag((response) => response.writeHead(429, { "retry-after": date }).end(), 1);
    expect(await pull()).toBeGreaterThan(990);
  });

  it("429 with a wait that is too long is told, not waited for", async () => {
    at.registry.addImage("tool", "1");
    answerTag((response) => response.writeHead(429, { "retry-after": "21600" }).end());
    expect(await at.failure("tool:1")).toMatchObject({
      code: "REGISTRY_RATE_LIMITED",
      hint: expect.stringContaining("try again in 21600 s") as string,
      retryable: true,
      details: { retry_after_seconds: 21_600 },
    });
    expect(asked()).toBe(1);
  });

  it("of more than 4 MiB is no manifest", async () => {
    answerTag((response) => response.end(Buffer.alloc(LIMITS.imageManifestBytes + 1, 0x20)));
    expect(await at.failure("tool:1")).toMatchObject({
      code: "IMAGE_LIMIT_EXCEEDED",
      details: { limit: "imageManifestBytes" },
    });
  });

  it("with other bytes than its digest is refused, by tag and by digest", async () => {
    const { digest } = at.registry.addImage("tool", "1");
    const other = digestOf(Buffer.from("{}"));
    answerTag((response) => response.writeHead(200, { "docker-content-digest": digest }).end("{}"));
    for (const reference of ["tool:1", `tool@${digest}`]) {
      expect(await at.failure(reference)).toMatchObject({
        code: "BLOB_DIGEST_MISMATCH",
        details: { expected: digest, found: other },
      });
    }
    expect(await at.files("blobs/sha256")).toEqual([]);
  });

  it("that is no HTTP is named, and so is a registry that is not there", async () => {
    answerTag((response) => response.socket?.end("SSH-2.0-x\r\n"));
    expect(await at.failure("tool:1")).toMatchObject({ code: "REGISTRY_PROTOCOL_ERROR" });
    const pulls = at.with({ registries: { insecure: ["localhost:1"] } });
    await expect(pulls.pull("localhost:1/tool")).rejects.toMatchObject({
      code: "REGISTRY_UNREACHABLE",
      retryable: true,
      details: { reason: "ECONNREFUSED" },
    });
  });

  it("that never comes, or pauses for ever, is a timeout", async () => {
    const image = at.registry.addImage("tool", "1");
    const pulls = at.with({ transport: { headersMs: 300, idleMs: 300 }, retry: { firstMs: 1, attempts: 2 } });
    answerTag(() => undefined);
    expect(await at.failure("tool:1", pulls)).toMatchObject({ code: "REGISTRY_TIMEOUT", retryable: true });
    faultOfLayer(image, (response, bytes) => {
      response.writeHead(200, { "content-length": bytes.length }).write(bytes.subarray(0, 100));
    });
    expect(await at.failure("tool:1", pulls)).toMatchObject({ code: "BLOB_TRUNCATED", retryable: true });
  });
});

describe("an index", () => {
  const nest = (depth: number): void => {
    const image = at.registry.addImage("tool", undefined);
    let inner = { digest: image.digest, size: image.sizeBytes, mediaType: OCI_MANIFEST };
    for (let level = 0; level < depth; level++) {
      const value = { schemaVersion: 2, manifests: [inner] };
      const digest = at.registry.addDocument("tool", level === depth - 1 ? "1" : undefined, value, OCI_INDEX);
      inner = { digest, size: Buffer.byteLength(JSON.stringify(value)), mediaType: OCI_INDEX };
    }
  };

  it("within an index is gone into, up to a bound", async () => {
    nest(LIMITS.imageIndexDepth);
    await at.pulls.pull(`${at.registry.name}/tool:1`);
    nest(LIMITS.imageIndexDepth + 1);
    expect(await at.failure("tool:1")).toMatchObject({
      code: "IMAGE_LIMIT_EXCEEDED",
      details: { limit: "imageIndexDepth" },
    });
  });

  it("that says another size of its image, or another type, is refused", async () => {
    const { digest, sizeBytes } = at.registry.addImage("tool", undefined);
    const index = (size: number, mediaType: string) => ({
      schemaVersion: 2,
      manifests: [{ digest, size, mediaType }],
    });
    at.registry.addDocument("tool", "1", index(sizeBytes + 1, OCI_MANIFEST), OCI_INDEX);
    expect(await at.failure("tool:1")).toMatchObject({ code: "IMAGE_MANIFEST_INVALID" });
    at.registry.addDocument("tool", "1", index(sizeBytes, OCI_INDEX), OCI_INDEX);
    expect(await at.failure("tool:1")).toMatchObject({ code: "IMAGE_MANIFEST_INVALID" });
    at.registry.addDocument("tool", "1", index(LIMITS.imageManifestBytes + 1, OCI_MANIFEST), OCI_INDEX);
    expect(await at.failure("tool:1")).toMatchObject({ code: "IMAGE_LIMIT_EXCEEDED" });
  });

  it("and an image without one are refused for another architecture", async () => {
    at.registry.addImage("tool", "1", { architecture: "riscv64" });
    expect(await at.failure("tool:1")).toMatchObject({
      code: "IMAGE_PLATFORM_NOT_FOUND",
      details: { wanted: "linux/amd64", available: ["linux/riscv64"] },
    });
  });

  it("of schema 1 is refused by its name", async () => {
    at.registry.addDocument(
      "tool",
      "1",
      { schemaVersion: 1, fsLayers: [] },
      "application/vnd.docker.distribution.manifest.v1+prettyjws",
    );
    expect(await at.failure("tool:1")).toMatchObject({
      code: "IMAGE_FORMAT_NOT_SUPPORTED",
      message: expect.stringContaining("schema 1") as string,
    });
    expect(await at.files("blobs/sha256")).toEqual([]);
  });
});
