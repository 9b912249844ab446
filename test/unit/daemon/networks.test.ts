import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect as netConnect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AgentLine } from "../../../src/daemon/agent-line.js";
import { guestNetwork } from "../../../src/daemon/guest-network.js";
import { openNetworks } from "../../../src/daemon/networks.js";
import { provisionOf } from "../../../src/daemon/provision/files.js";
import { connectGuest } from "../../../src/guest/index.js";
import { silentLogger } from "../../../src/kit/index.js";
import { policyFromFlags, policyToText, SharedLookUp, type PolicyFlags } from "../../../src/network/index.js";
import {
  AddressFamily,
  NetworkService,
  RefusedBecause,
  ResolveFailure,
  type DialRequest,
} from "../../../src/protocol/gen/pyro/guest/v1/network_pb.js";
import type { MachineNetwork, NetworkPolicyText, WorkspaceNetwork } from "../../../src/workspace/index.js";
import { FakeGuest } from "../../fakes/fake-guest.js";
import { guestError } from "../../fakes/host-files.js";
import { dialLoopback, LoopbackServer, lookAtNothing, WEB } from "../network/gateway-support.js";

const BYTES = WEB.split(".").map(Number);
const egress = (flags: PolicyFlags = {}): NetworkPolicyText =>
  policyToText(policyFromFlags({ mode: "egress", ...flags }));

let directory: string;
let guest: FakeGuest;
let line: AgentLine;
let network: WorkspaceNetwork;
let machine: MachineNetwork;
let configured: boolean[];
/** What the agent was given, by path; variables under their own text. */
let given: Record<string, string>[];
/** What the agent's kernel says, if it refuses. */
let obstacle: string | undefined;

/** A program of the guest that echoes on every port but 1. */
async function* echoPort(requests: AsyncIterable<DialRequest>): AsyncGenerator<object> {
  for await (const { part } of requests) {
    if (part.case === "open" && part.value === 1) {
      yield { part: { case: "refused", value: { because: RefusedBecause.REFUSED } } };
      return;
    }
    if (part.case === "open") yield { part: { case: "opened", value: {} } };
    else if (part.case === "data") yield { part: { case: "data", value: part.value } };
    else {
      yield { part: { case: "finished", value: {} } };
      return;
    }
  }
}

async function start(policy: NetworkPolicyText): Promise<void> {
  configured = [];
  given = [];
  obstacle = undefined;
  guest = await FakeGuest.start({
    routes: (router) =>
      router.service(NetworkService, {
        configure: (request) => {
          if (obstacle !== undefined) throw guestError("INTERNAL", obstacle);
          configured.push(request.egress);
          const now: Record<string, string> = {};
          for (const { path, content } of request.files) now[path] = Buffer.from(content).toString();
          for (const entry of request.environment) now[entry] = "set";
          given.push(now);
          return {};
        },
        dial: echoPort as never,
      }),
  });
  const connect = async () => await connectGuest(guest.path, { timeoutMs: 5_000 });
  line = new AgentLine(await connect(), connect);
  machine = guestNetwork({ line }, new AbortController().signal, silentLogger);
  const networks = openNetworks({
    log: silentLogger,
    look: lookAtNothing,
    lookUp: new SharedLookUp((name) => Promise.resolve(name === "web.test" ? [WEB] : ["10.0.0.1"])),
    dial: dialLoopback(),
    provision: () => Promise.resolve(provisionOf({ pem: "PEM" }, { text: "" }, { warnings: [] })),
  });
  network = await networks.open({ directory, policy, redact: (text) => text });
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-networks-"));
});
afterEach(async () => {
  await network[Symbol.asyncDispose]();
  await line[Symbol.asyncDispose]();
  await guest[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

describe("the network of a workspace's machine", () => {
  it("lets its programs out once it is attached, by policy, and records what they did", async () => {
    await using server = await LoopbackServer.start((socket) => socket.pipe(socket));
    await start(egress());
    const before = await guest.session.connect(BYTES, server.port);
    expect(before.answer.case).toBe("refused");
    await network.attach(machine);
    expect(configured).toEqual([true]);
    const { gateway } = guest.session;
    const web = await gateway.resolve({ name: "web.test", family: AddressFamily.IPV4 });
    expect(web.addresses.map((address) => [...address])).toEqual([BYTES]);
    expect((await gateway.resolve({ name: "lan.test", family: AddressFamily.IPV4 })).failure).toBe(
      ResolveFailure.REFUSED,
    );
    const { answer, stream, ended } = await guest.session.connect(BYTES, server.port, "command-1");
    expect(answer.case).toBe("opened");
    const sent = Buffer.alloc(2_000_000, "pyro ");
    const sending = (async () => {
      for (let at = 0; at < sent.length; at += 32_000) await stream.write(sent.subarray(at, at + 32_000));
      await stream.finish();
    })();
    const got: Uint8Array[] = [];
    for (let data = await stream.read(); data !== undefined; data = await stream.read()) got.push(data);
    await Promise.all([sending, ended()]);
    expect(Buffer.concat(got).equals(sent)).toBe(true);
    const { report } = network;
    expect(report.totals).toMatchObject({
      connections: 1,
      refused: 1,
      bytesUp: sent.length,
      bytesDown: sent.length,
    });
    expect(report.events.at(-1)).toMatchObject({ name: "web.test", openedBy: "command-1", end: "finished" });
    expect(network.lastRefusal?.reason).toContain("refuses 10.0.0.1 (lan.test): 10.0.0.0/8 is private");
    expect(network.lastRefusal?.hint).toContain("--allow-cidr 10.0.0.1`");
    expect(report.openCount).toBe(0);
  });

  it("gives it what the host hands on with egress, on each connection, and takes it back without", async () => {
    await start(egress());
    await network.attach(machine);
    const files = { "/usr/local/share/ca-certificates/pyro-host.crt": "PEM", "/root/.npmrc": "" };
    expect(given).toMatchObject([{ ...files, "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt": "set" }]);
    guest.hangUp();
    await line.reconnect();
    await expect.poll(() => given).toHaveLength(2);
    expect(given[1]).toEqual(given[0]);
    await network.setPolicy(policyToText(policyFromFlags({ mode: "off" })));
    const paths = Object.keys(given[0] ?? {}).filter((name) => name.startsWith("/"));
    expect(given[2]).toEqual(Object.fromEntries(paths.map((path) => [path, ""])));
  });

  it("resets what is open when its policy changes, and tells the agent", async () => {
    await using server = await LoopbackServer.start((socket) => socket.resume());
    await start(egress());
    await network.attach(machine);
    const { answer, ended } = await guest.session.connect(BYTES, server.port);
    expect(answer.case).toBe("opened");
    await network.setPolicy(policyToText(policyFromFlags({ mode: "off" })));
    await expect(ended()).rejects.toThrow("the network policy was changed");
    expect(configured).toEqual([true, false]);
    expect((await guest.session.connect(BYTES, server.port)).answer.case).toBe("refused");
    await expect(network.setPolicy({ ...network.policy, allow: ["not a rule!"] })).rejects.toMatchObject({
      code: "INVALID_NETWORK_POLICY",
    });
    expect(network.policy.mode).toBe("off");
    await expect.poll(() => server.sockets.size).toBe(0);
  });

  it("is in force on the host, with a word to its user, where the machine does not let itself be told", async () => {
    await start(egress());
    await network.attach(machine);
    obstacle = "make the route to 0.0.0.0/0: invalid argument\nand more";
    await expect(network.setPolicy(egress({ deny: ["web.test"] }))).rejects.toMatchObject({
      code: "NETWORK_NOT_AVAILABLE",
      message: expect.stringMatching(/make the route to 0\.0\.0\.0\/0: invalid argument$/) as string,
      hint: expect.stringContaining("start it again") as string,
    });
    const { failure } = await guest.session.gateway.resolve({ name: "web.test", family: AddressFamily.IPV4 });
    expect(failure).toBe(ResolveFailure.REFUSED);
  });

  it("resets what is open with the agent's connection, and serves the next one", async () => {
    await using server = await LoopbackServer.start((socket) => socket.resume());
    await start(egress());
    await network.attach(machine);
    await guest.session.connect(BYTES, server.port);
    await expect.poll(() => server.sockets.size).toBe(1);
    guest.hangUp();
    await expect.poll(() => server.sockets.size).toBe(0);
    await line.reconnect();
    await expect.poll(() => configured).toEqual([true, true]);
    const again = await guest.session.connect(BYTES, server.port);
    expect(again.answer.case).toBe("opened");
    expect(network.report.events[0]?.end).toContain("connection to the guest agent is gone");
    again.stream.reset("");
  });

  it("is left with a reason, and leads nowhere from then on", async () => {
    await using server = await LoopbackServer.start((socket) => socket.resume());
    await start(egress());
    await network.attach(machine);
    const { ended } = await guest.session.connect(BYTES, server.port);
    network.detach("the workspace is suspended");
    await expect(ended()).rejects.toThrow("the workspace is suspended");
    const refused = await guest.session.connect(BYTES, server.port);
    expect(refused.answer).toMatchObject({ case: "refused", value: { because: RefusedBecause.POLICY } });
    const name = await guest.session.gateway.resolve({ name: "web.test", family: AddressFamily.IPV4 });
    expect(name.failure).toBe(ResolveFailure.REFUSED);
    await network.attach(machine);
    expect((await guest.session.connect(BYTES, server.port)).answer.case).toBe("opened");
  });

  it("allows nothing when its policy cannot be read, and keeps its record for the next daemon", async () => {
    await start({ ...egress(), allow: ["?"] });
    await network.attach(machine);
    expect(configured).toEqual([false]);
    expect((await guest.session.connect(BYTES, 80)).answer.case).toBe("refused");
    await network[Symbol.asyncDispose]();
    expect(await readFile(join(directory, "network.jsonl"), "utf8")).toContain('"decision":"refused"');
  });
});

/** A start of a service that is ready. */
const WEB_START = { workspaceId: "ws-1", startId: "start-1", service: "web", isReady: () => true };

/** How a connection to a port of the host ends. */
async function endOf(hostPort: number): Promise<unknown> {
  return await new Promise((resolve) =>
    netConnect(hostPort, "127.0.0.1")
      .on("error", (error: NodeJS.ErrnoException) => resolve(error.code))
      .on("end", () => resolve("end")),
  );
}

describe("published ports", () => {
  const published = (): NetworkPolicyText => egress({ mode: "egress+published-ports" });

  it("lead to the machine, are recorded, and go with their service", async () => {
    await start(published());
    await network.attach(machine);
    let isReady = false;
    const owner = { ...WEB_START, isReady: () => isReady };
    const [port] = await network.publish(owner, [{ hostPort: 0, guestPort: 3000 }]);
    expect(network.ports).toEqual([{ startId: "start-1", hostPort: port?.hostPort, guestPort: 3000 }]);
    // Before the service is ready nobody gets in.
    expect(await endOf(port?.hostPort ?? 0)).toBe("ECONNRESET");
    await expect.poll(() => network.report.events[0]?.end).toContain("service web is not ready");
    isReady = true;
    const socket = netConnect({ host: "127.0.0.1", port: port?.hostPort ?? 0 });
    const heard = new Promise<string>((resolve) => socket.once("data", (data) => resolve(data.toString())));
    socket.write("hello");
    expect(await heard).toBe("hello");
    socket.end();
    await expect.poll(() => network.report.events[1]?.end).toBe("finished");
    expect(network.report.events).toMatchObject([
      { kind: "published", name: "web", bytesUp: 0, bytesDown: 0 },
      { kind: "published", name: "web", bytesUp: 5, bytesDown: 5 },
    ]);
    await network.unpublish("start-1");
    expect(network.ports).toEqual([]);
    expect(await endOf(port?.hostPort ?? 0)).toBe("ECONNREFUSED");
  });

  it("are all published or none, and none without the policy", async () => {
    await start(published());
    await network.attach(machine);
    const wanted = [
      { hostPort: 0, guestPort: 3000 },
      { hostPort: 80, guestPort: 3000 },
    ];
    await expect(network.publish(WEB_START, wanted)).rejects.toMatchObject({ code: "PORT_PRIVILEGED" });
    expect(network.ports).toEqual([]);
    await network.publish(WEB_START, [{ hostPort: 0, guestPort: 3000 }]);
    await network.setPolicy(egress());
    expect(network.ports).toEqual([]);
    await expect(network.publish(WEB_START, [{ hostPort: 0, guestPort: 1 }])).rejects.toMatchObject({
      code: "PUBLISHING_NOT_ALLOWED",
    });
  });

  it("that are being opened while the policy closes them, or the network ends, are closed again", async () => {
    await start(published());
    await network.attach(machine);
    const open = (): Promise<unknown> =>
      network.publish(WEB_START, [{ hostPort: 0, guestPort: 3000 }]).catch((error: unknown) => error);
    const opening = open();
    await network.setPolicy(egress());
    expect(await opening).toMatchObject({ code: "PUBLISHING_NOT_ALLOWED" });
    await network.setPolicy(published());
    const late = open();
    await network[Symbol.asyncDispose]();
    expect(await late).toMatchObject({ code: "WORKSPACE_STOPPED" });
    expect(network.ports).toEqual([]);
  });

  it("reset their clients while the machine is away, and where nobody listens in it", async () => {
    await start(published());
    await expect(network.publish(WEB_START, [])).rejects.toMatchObject({ code: "WORKSPACE_STOPPED" });
    await network.attach(machine);
    const ports = await network.publish(WEB_START, [
      { hostPort: 0, guestPort: 3000 },
      { hostPort: 0, guestPort: 1 },
    ]);
    network.detach("the workspace is suspended");
    expect(await endOf(ports[0]?.hostPort ?? 0)).toBe("ECONNRESET");
    await network.attach(machine);
    expect(await endOf(ports[1]?.hostPort ?? 0)).toBe("ECONNRESET");
    await expect.poll(() => network.report.events.map(({ end }) => end)).toHaveLength(2);
  });
});
