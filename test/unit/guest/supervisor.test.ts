/** The client of the supervisor, over an agent that may lie. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import {
  connectGuest,
  getService,
  listServices,
  readServiceLogs,
  startService,
  stopService,
  type GuestConnection,
} from "../../../src/guest/index.js";
import { OutputStream } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import {
  ServiceEnd,
  ServiceState,
  SupervisorService,
  type ServiceInfoSchema,
  type ServiceLogsResponseSchema,
} from "../../../src/protocol/gen/pyro/guest/v1/supervisor_pb.js";
import { LIMITS, type PyroError } from "../../../src/protocol/index.js";
import { FakeGuest } from "../../fakes/fake-guest.js";

type Info = MessageInitShape<typeof ServiceInfoSchema>;
type LogEvent = MessageInitShape<typeof ServiceLogsResponseSchema>;

const WEB: Info = {
  ...{ name: "web", startId: "start-1", command: "serve", cwd: Buffer.from("/workspace") },
  ...{ state: ServiceState.RUNNING, pid: 42, startedAtNs: 1_800_000_000_123_456_789n },
};
const SPEC = {
  ...{ name: "web", startId: "start-1", argv: ["serve"], env: ["A=1"], cwd: "/workspace", command: "serve" },
  readiness: { type: "tcp", value: ":80", timeoutMs: 1_000, intervalMs: 50 },
} as const;
/** Of an agent of the future. */
const UNKNOWN_STATE = JSON.parse("99") as ServiceState;
const broken = expect.objectContaining({ code: "GUEST_PROTOCOL_ERROR" }) as PyroError;

async function withAgent(
  service: Partial<ServiceImpl<typeof SupervisorService>>,
  use: (connection: GuestConnection) => Promise<void>,
): Promise<void> {
  await using guest = await FakeGuest.start({ routes: (router) => router.service(SupervisorService, service) });
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  await use(connection);
}

describe("A service of the guest", () => {
  it("is told with its times, its readiness and its end", async () => {
    const requests: unknown[] = [];
    const ended: Info = {
      ...{ ...WEB, state: ServiceState.FAILED, end: ServiceEnd.NOT_READY, failure: "not ready", pid: 0 },
      exit: { signal: "SIGTERM" },
      readiness: { by: { case: "tcpAddress", value: ":80" }, timeoutMs: 1_000, intervalMs: 50 },
    };
    const service = {
      start: (request: unknown) => {
        requests.push(request);
        return { service: { ...WEB, state: ServiceState.STARTING } };
      },
      get: () => ({ service: ended }),
      stop: () => ({ service: { ...WEB, state: ServiceState.STOPPED, end: ServiceEnd.REQUESTED } }),
    };
    await withAgent(service, async (connection) => {
      const started = await startService(connection, { ...SPEC, user: "app", noLogin: true });
      expect(started).toMatchObject({ state: "starting", pid: 42, startedAtMs: 1_800_000_000_123 });
      expect(requests).toMatchObject([
        { ...{ user: "app", noLogin: true }, name: "web", logBytes: LIMITS.serviceLogBytes, readiness: { by: { case: "tcpAddress", value: ":80" } } },
      ]);
      expect(await getService(connection, "web", { waitMs: 10 })).toMatchObject({
        ...{ state: "failed", end: "not_ready", failure: "not ready", signal: "SIGTERM", pid: undefined },
        readiness: SPEC.readiness,
      });
      expect(await stopService(connection, "web", 10)).toMatchObject({ state: "stopped", end: "requested" });
    });
  });

  it.each([
    ["file", "run/ready", { case: "file" }],
    ["http", "http://localhost/", { case: "httpUrl" }],
    ["command", "true", { case: "command" }],
  ] as const)("is asked to be ready by %s", async (type, value, by) => {
    const service: Partial<ServiceImpl<typeof SupervisorService>> = {
      start: ({ readiness }) => {
        expect(readiness).toMatchObject({ by });
        return { service: { ...WEB, readiness } };
      },
    };
    await withAgent(service, async (connection) => {
      const readiness = { type, value, timeoutMs: 1_000, intervalMs: 50 };
      expect((await startService(connection, { ...SPEC, readiness })).readiness).toEqual(readiness);
    });
  });

  it.each<readonly [string, Info | undefined]>([
    ["another one", { ...WEB, name: "other" }],
    ["none", undefined],
    ["one without a state", { ...WEB, state: ServiceState.UNSPECIFIED }],
    ["one with a state of the future", { ...WEB, state: UNKNOWN_STATE }],
  ])("is %s: the agent broke the protocol", async (_, service) => {
    await withAgent({ get: () => (service === undefined ? {} : { service }) }, async (connection) => {
      await expect(getService(connection, "web")).rejects.toEqual(broken);
    });
  });

  it("cannot be more than an agent keeps, nor have a name that it cannot have", async () => {
    for (const services of [Array.from({ length: 65 }, () => WEB), [{ ...WEB, name: "../web" }]])
      await withAgent({ list: () => ({ services, generation: 2n }) }, async (connection) => {
        await expect(listServices(connection)).rejects.toEqual(broken);
      });
  });

  it("has times that a Date can tell, and texts that have an end", async () => {
    const service = { ...WEB, endedAtNs: 2n ** 62n, startedAtNs: -5n, failure: "x".repeat(100_000) };
    await withAgent({ list: () => ({ services: [service], generation: 2n }) }, async (connection) => {
      const { services, generation } = await listServices(connection, { afterGeneration: 1n, waitMs: 10 });
      expect(generation).toBe(2n);
      expect(services[0]).toMatchObject({ startedAtMs: 0, readyAtMs: undefined });
      expect(new Date(services[0]?.endedAtMs ?? NaN).getTime()).not.toBeNaN();
      expect(services[0]?.failure).toHaveLength(2_000);
    });
  });
});

describe("A log", () => {
  const chunk = (stream: OutputStream, offset: number, data: Uint8Array): LogEvent => ({
    event: { case: "chunk", value: { stream, offset: BigInt(offset), data } },
  });
  const totals = (stdout: number, stderr: number): LogEvent => ({
    event: { case: "totals", value: { stdoutBytes: BigInt(stdout), stderrBytes: BigInt(stderr) } },
  });
  const { STDOUT, STDERR } = OutputStream;
  const events = (sent: readonly LogEvent[]) => ({
    logs: async function* () {
      for (const event of sent) yield await Promise.resolve(event);
    },
  });

  it("is put together, each stream for itself", async () => {
    const sent = [
      chunk(STDOUT, 100, Buffer.from("ab")),
      chunk(STDERR, 0, Buffer.from("e")),
      chunk(STDOUT, 102, Buffer.from("c")),
      totals(103, 1),
    ];
    await withAgent(events(sent), async (connection) => {
      const { stdout, stderr } = await readServiceLogs(connection, "web");
      expect([stdout, stderr]).toEqual([
        { data: Buffer.from("abc"), totalBytes: 103 },
        { data: Buffer.from("e"), totalBytes: 1 },
      ]);
    });
  });

  const large = Buffer.alloc(1024 * 1024);
  it.each<readonly [string, readonly LogEvent[]]>([
    ["without its totals", []],
    ["with a gap", [chunk(STDOUT, 0, Buffer.from("a")), chunk(STDOUT, 5, Buffer.from("b")), totals(6, 0)]],
    ["that goes back", [chunk(STDOUT, 5, Buffer.from("a")), chunk(STDOUT, 0, Buffer.from("b")), totals(6, 0)]],
    ["that ends elsewhere", [chunk(STDOUT, 0, Buffer.from("a")), totals(5, 0)]],
    ["longer than asked", [chunk(STDOUT, 0, large), chunk(STDOUT, large.length, large), totals(2 * large.length, 0)]],
  ])("%s breaks the protocol", async (_, sent) => {
    await withAgent(events(sent), async (connection) => {
      await expect(readServiceLogs(connection, "web")).rejects.toEqual(broken);
    });
  });
});
