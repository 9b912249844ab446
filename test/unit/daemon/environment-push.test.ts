import { createRouterTransport, createClient } from "@connectrpc/connect";
import { expect, it } from "vitest";
import { environmentService, type EnvironmentRooms } from "../../../src/daemon/services/environment.js";
import { registrySettings } from "../../../src/daemon/registries.js";
import { EnvironmentService } from "../../../src/protocol/gen/pyro/daemon/v1/environment_pb.js";
import { PyroError } from "../../../src/protocol/index.js";

type Push = EnvironmentRooms["pushes"]["push"];

/** The service, of which only pushing is asked for. */
function client(push: Push) {
  const rooms = { pushes: { push } } as unknown as EnvironmentRooms;
  const transport = createRouterTransport((router) =>
    router.service(EnvironmentService, environmentService(rooms)),
  );
  return createClient(EnvironmentService, transport);
}

it("A push tells how far it is, and ends with what it came to", async () => {
  const asked: string[] = [];
  const calls = client(async (name, reference, { onProgress }) => {
    asked.push(name, reference);
    onProgress?.({ phase: "pack", bytesDone: 1, bytesTotal: 2, message: "packing the files" });
    return await Promise.resolve({
      ...{
        environment: "mine",
        reference: "registry.test/mine:1",
        digest: `sha256:${"1".repeat(64)}` as never,
      },
      ...{ sizeBytes: 30, uploadedBytes: 20, isSameImage: true, leftOut: 4, durationMs: 5.4 },
    });
  });
  const events = [];
  for await (const { event } of calls.push({ name: "mine", reference: "registry.test/mine:1" }))
    events.push(event);
  expect(asked).toEqual(["mine", "registry.test/mine:1"]);
  expect(events).toMatchObject([
    {
      case: "progress",
      value: { phase: "pack", bytesDone: 1n, bytesTotal: 2n, message: "packing the files" },
    },
    {
      case: "result",
      value: {
        ...{ environment: "mine", reference: "registry.test/mine:1", digest: `sha256:${"1".repeat(64)}` },
        ...{ sizeBytes: 30n, uploadedBytes: 20n, sameImage: true, leftOut: 4n, durationMs: 5n },
      },
    },
  ]);
});

it("A push ends when its caller leaves, and fails as it does", async () => {
  let signal: AbortSignal | undefined;
  const calls = client(async (_, __, options) => {
    signal = options.signal;
    options.onProgress?.({ phase: "upload", bytesDone: 0, bytesTotal: 2, message: "sending the image" });
    return await new Promise(() => undefined);
  });
  const controller = new AbortController();
  const events = calls
    .push({ name: "mine", reference: "x" }, { signal: controller.signal })
    [Symbol.asyncIterator]();
  expect(await events.next()).toMatchObject({ value: { event: { case: "progress" } } });
  controller.abort();
  await expect(events.next()).rejects.toThrow();
  await expect.poll(() => signal?.aborted).toBe(true);

  const refused = client(() => Promise.reject(new PyroError("REGISTRY_FORBIDDEN", "no", { hint: "log in" })));
  await expect(
    refused.push({ name: "mine", reference: "x" })[Symbol.asyncIterator]().next(),
  ).rejects.toThrow();
});

it("What the configuration says of registries is what pushes and pulls go by", () => {
  expect(registrySettings({})).toEqual({});
  const mirrors = { "registry.test": ["https://mirror.test"] };
  expect(registrySettings({ mirrors, insecure_registries: ["localhost:5000"] })).toEqual({
    ...{ mirrors, insecure: ["localhost:5000"] },
  });
});
