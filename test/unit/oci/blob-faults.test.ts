import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../../src/protocol/index.js";
import { tarOf, type AddedImage } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";
import { faultOfLayer, isLayer, layerOf, requestsOf } from "./layer-faults.js";

let at: Pulling;
beforeEach(async () => {
  at = await pulling();
});
afterEach(async () => {
  await at[Symbol.asyncDispose]();
});

describe("a blob", () => {
  it("with another digest is refused, has no place, and leaves no part", async () => {
    const image = at.registry.addImage("tool", "1");
    faultOfLayer(at, image, (response, bytes) => {
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
    expect(requestsOf(at, image)).toHaveLength(1);
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
    faultOfLayer(at, image, answer);
    expect(await at.failure("tool:1")).toMatchObject({
      code: "BLOB_SIZE_MISMATCH",
      retryable: false,
      details: { size_bytes: layerOf(at, image).length, found },
    });
    expect(requestsOf(at, image)).toHaveLength(1);
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
      cut(response, layerOf(at, image));
      return true;
    };
    await at.pulls.pull(`${at.registry.name}/tool:1`);
    expect(requestsOf(at, image).map(({ headers }) => headers.range)).toEqual([undefined, "bytes=100000-"]);

    const other = at.registry.addImage("tool", "2", { layers: [tarOf(2, 300_000)] });
    at.registry.fault = (request, response) => {
      if (!isLayer(request, other)) return false;
      if (request.headers.range === undefined) cut(response, layerOf(at, other));
      else response.destroy();
      return true;
    };
    const error = await at.failure("tool:2");
    expect(error).toMatchObject({ code: "REGISTRY_UNREACHABLE", retryable: true });
    expect(requestsOf(at, other)).toHaveLength(LIMITS.registryAttempts);
    expect(await at.files("partial")).toEqual([other.layers[0]?.slice(7)]);
    at.registry.fault = (request, response) => {
      if (!isLayer(request, other)) return false;
      const { length } = layerOf(at, other);
      const from = Number(/\d+/.exec(request.headers.range ?? "")?.[0]);
      response.writeHead(206, {
        "content-range": `bytes ${from}-${length - 1}/${length}`,
        "content-length": length - from,
      });
      response.write(layerOf(at, other).subarray(from, from + 10), () =>
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
    expect(requestsOf(at, image)).toHaveLength(1);
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
      response.writeHead(200, { etag: '"a"', "content-length": layerOf(at, image).length });
      response.write(layerOf(at, image).subarray(0, 100_000));
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
  const ranges = (): (string | undefined)[] => requestsOf(at, image).map(({ headers }) => headers.range);
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
    faultOfLayer(at, image, answer, "first");
    await pull();
    expect(ranges()).toEqual(["bytes=100000-", undefined]);
  });

  it.each(answers.slice(0, 3))("fails by name where it gets %s for ever", async (_, answer) => {
    faultOfLayer(at, image, answer);
    expect(await at.failure("tool:1")).toMatchObject({ code: "REGISTRY_PROTOCOL_ERROR" });
    expect(ranges().length).toBeLessThan(6);
    expect(await at.files("partial")).toEqual([]);
  });

  it("begins anew when the content changed between two answers of one download", async () => {
    let times = 0;
    at.registry.fault = (request, response) => {
      if (!isLayer(request, image)) return false;
      const bytes = layerOf(at, image);
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
    expect(requestsOf(at, image)[1]?.headers["if-range"]).toBe('"1"');
  });

  it("says so when the whole is another size", async () => {
    faultOfLayer(at, image, (response) =>
      response.writeHead(206, { "content-range": "bytes 100000-100001/5" }).end("xx"),
    );
    expect(await at.failure("tool:1")).toMatchObject({ code: "BLOB_SIZE_MISMATCH", details: { found: 5 } });
    expect(await at.files("partial")).toEqual([]);
  });

  it("ends where the server's wrong bytes never end", async () => {
    faultOfLayer(at, image, (response, bytes) => response.end(Buffer.alloc(bytes.length)));
    expect(await at.failure("tool:1")).toMatchObject({ code: "BLOB_DIGEST_MISMATCH" });
    expect(ranges().length).toBeLessThan(4);
  });
});
