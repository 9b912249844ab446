import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { digestOf } from "../../../src/oci/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { OCI_INDEX, OCI_MANIFEST, type Fault } from "../../fakes/fake-registry.js";
import { pulling, type Pulling } from "./pulling.js";
import { faultOfLayer } from "./layer-faults.js";

let at: Pulling;
beforeEach(async () => {
  at = await pulling();
});
afterEach(async () => {
  await at[Symbol.asyncDispose]();
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
    faultOfLayer(at, image, (response, bytes) => {
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
