/** The ports of the host that services have: from their start to their end, over suspends, daemons and forks. */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createSnapshot,
  listServices,
  NO_NETWORK,
  startService,
  stopService,
  type PortPair,
  type ServicePort,
  type ServiceRequest,
  type Workspace,
} from "../../../src/workspace/index.js";
import { FakeNetwork } from "../../fakes/fake-networks.js";
import type { FakeSupervisor } from "../../fakes/fake-supervisor.js";
import { NEVER, WorkspaceHost } from "../../fakes/workspace-host.js";

const PUBLISHING = { ...NO_NETWORK, mode: "egress+published-ports", allow: ["*"] } as const;
const EGRESS = { ...PUBLISHING, mode: "egress" } as const;
const FILE = { type: "file", value: "ready", timeoutMs: 0, intervalMs: 0 } as const;
const WEB = { hostPort: 8080, guestPort: 3000 };
/** An end by itself. */
const EXITED = { state: "exited", end: "exited", exitCode: 0, pid: undefined } as const;

let host: WorkspaceHost;
let workspace: Workspace;
beforeEach(async () => {
  host = await WorkspaceHost.start();
  workspace = await host.create({ network: PUBLISHING });
});
afterEach(async () => {
  host.machines.before = () => undefined;
  await host[Symbol.asyncDispose]();
  expect(host.networks.opened.flatMap(({ ports }) => ports)).toEqual([]);
});

function start(
  publishedPorts: readonly PortPair[] = [WEB],
  more: Partial<ServiceRequest> = {},
  of = workspace,
  waitMs = 5_000,
) {
  const request = { name: "web", argv: [], command: "serve", env: [], cwd: "", readiness: undefined };
  return startService(of, { ...request, publishedPorts, ...more }, { waitMs, signal: NEVER });
}

const supervisor = (): FakeSupervisor => host.machines.machine.supervisor;
function network(of = workspace): FakeNetwork {
  if (!(of.network instanceof FakeNetwork)) throw new Error("it is no fake");
  return of.network;
}
function lose(): Promise<void> {
  host.machines.machine.lose();
  return Promise.resolve();
}
function forget(): Promise<void> {
  supervisor().forget();
  return Promise.resolve();
}
const ports = (of = workspace): readonly ServicePort[] =>
  of.services.all.flatMap((facts) => of.ports.of(facts));
const kept = async (): Promise<unknown> =>
  JSON.parse(await readFile(workspace.paths.ports, "utf8").catch(() => "[]"));
const closed = (reason: string) => [
  { ...WEB, service: "web", state: "closed", reason: expect.stringContaining(reason) as string },
];
const OPEN = [{ ...WEB, service: "web", state: "open", reason: "" }];

describe("The ports of a service", () => {
  it("lead to it once it is ready, and not before; which the system chose is told", async () => {
    const starting = await start([WEB, { hostPort: 0, guestPort: 1 }], { readiness: FILE }, workspace, 0);
    expect(workspace.ports.of(starting)).toEqual([
      { ...WEB, service: "web", state: "reserved", reason: "" },
      { hostPort: 40_001, guestPort: 1, service: "web", state: "reserved", reason: "" },
    ]);
    expect([network().leadsIn(8080), network().leadsIn(40_001)]).toEqual([false, false]);
    supervisor().change("web", { state: "running" });
    await expect.poll(() => ports().map(({ state }) => state)).toEqual(["open", "open"]);
    expect([network().leadsIn(8080), network().leadsIn(40_001)]).toEqual([true, true]);
  });

  it.each<[string, readonly PortPair[], string]>([
    ["taken", [{ hostPort: 9000, guestPort: 1 }, WEB], "PORT_TAKEN"],
    ["given twice", [WEB, { ...WEB, guestPort: 1 }], "INVALID_ARGUMENT"],
    ["too many", Array.from({ length: 17 }, () => ({ hostPort: 0, guestPort: 1 })), "INVALID_ARGUMENT"],
  ])(
    "that are %s are the error of its start, which starts nothing and takes none",
    async (_, wanted, code) => {
      host.takenPorts.add(8080);
      await expect(start(wanted)).rejects.toMatchObject({ code });
      expect([supervisor().specs, network().ports, await kept()]).toEqual([[], [], []]);
    },
  );

  it("need the policy", async () => {
    await workspace.setNetwork(EGRESS);
    await expect(start()).rejects.toMatchObject({ code: "PUBLISHING_NOT_ALLOWED" });
    expect(supervisor().specs).toEqual([]);
    expect(await start([])).toMatchObject({ state: "running" });
  });

  it("are nobody's where it could not be started, did not become ready, or could not be written down", async () => {
    const failing = start([WEB], { readiness: FILE });
    await expect.poll(() => supervisor().services.has("web")).toBe(true);
    supervisor().change("web", { state: "failed", end: "not_ready", failure: "not ready in time" });
    await expect(failing).rejects.toMatchObject({ code: "SERVICE_FAILED" });
    expect([network().ports, await kept()]).toEqual([[], []]);
    // The machine says no: another daemon's start has the name.
    supervisor().services.set("web", { ...(await start([], { name: "other" })), name: "web" } as never);
    await expect(start()).rejects.toMatchObject({ code: "SERVICE_EXISTS" });
    expect([network().ports, await kept()]).toEqual([[], []]);
    const count = supervisor().specs.length;
    await rm(workspace.paths.ports);
    await mkdir(workspace.paths.ports);
    await expect(start([WEB], { name: "another" })).rejects.toMatchObject({
      code: expect.any(String) as string,
    });
    expect([network().ports, supervisor().specs.length]).toEqual([[], count]);
  });

  it("stay with the one that has them where another is started by its name", async () => {
    await start();
    await expect(start()).rejects.toMatchObject({
      code: "SERVICE_EXISTS",
      hint: "stop it first, or use another name",
    });
    expect(ports()).toEqual(OPEN);
    supervisor().change("web", EXITED);
    await start();
    expect(ports()).toEqual(OPEN);
    await expect(start([WEB], { name: "other" })).rejects.toMatchObject({ code: "PORT_TAKEN" });
  });

  it.each<[string, () => Promise<unknown>]>([
    ["stop", () => stopService(workspace, "web", NEVER)],
    ["own end", async () => Promise.resolve(supervisor().change("web", EXITED))],
    ["workspace's stop", () => workspace.stop("user").result],
    ["workspace's reset", () => workspace.reset().result],
    ["machine's loss", lose],
    ["machine's forgetting it", forget],
    ["workspace's deletion", () => host.workspaces.delete(workspace)],
  ])("are gone with its %s", async (end, act) => {
    await start();
    const listening = network();
    await act();
    const atOnce = !["own end", "machine's loss", "machine's forgetting it"].includes(end);
    if (atOnce) expect(listening.ports).toEqual([]);
    await expect.poll(() => listening.ports).toEqual([]);
    await expect.poll(kept).toEqual([]);
    if (end !== "workspace's deletion") expect(ports()).toEqual([]);
  });

  it("are closed by a policy that publishes none, and open again by one that does", async () => {
    await start();
    await workspace.setNetwork(EGRESS);
    expect([network().ports, ports()]).toEqual([[], closed("the policy is egress")]);
    await workspace.setNetwork(PUBLISHING);
    expect(ports()).toEqual(OPEN);
  });
});

describe("Over a suspend the ports of a service", () => {
  it("are closed, and the same ones are open again afterwards", async () => {
    await start();
    await workspace.suspend("user").result;
    expect([network().ports, ports()]).toEqual([[], closed("the workspace is suspended")]);
    await workspace.setNetwork(PUBLISHING);
    expect(network().ports).toEqual([]);
    await host.restart();
    workspace = host.workspaces.find(workspace.id);
    expect(ports()).toEqual(closed("the workspace is suspended"));
    await workspace.start().result;
    expect(ports()).toEqual(OPEN);
  });

  it("stay closed where another has them by then, and no other is chosen", async () => {
    await start();
    await workspace.suspend("user").result;
    host.takenPorts.add(8080);
    await workspace.start().result;
    expect(ports()).toEqual(
      closed("port 8080 of 127.0.0.1 is in use on the host; free it and start the service again"),
    );
    expect(network().ports).toEqual([]);
    await stopService(workspace, "web", NEVER);
    host.takenPorts.clear();
    await start();
    expect(ports()).toEqual(OPEN);
  });

  it("are open again where a snapshot with memory is gone back to", async () => {
    const { services } = supervisor();
    await start();
    await createSnapshot(workspace, "served", { memory: true }).result;
    const remembered = new Map(services);
    await stopService(workspace, "web", NEVER);
    expect(await kept()).toEqual([]);
    // The fake's memory has files alone.
    host.machines.before = (step) => {
      if (step !== "letOut") return;
      for (const [name, service] of remembered) supervisor().services.set(name, service);
    };
    await workspace.reset("served").result;
    expect(ports()).toEqual(OPEN);
  });
});

describe("The next daemon", () => {
  const next = (): Workspace => (workspace = host.workspaces.find(workspace.id));

  it("publishes the same ports of a service that lives, whether the one before left or was killed", async () => {
    await start();
    await host.crash();
    expect(ports(next())).toEqual(OPEN);
    await host.restart();
    expect(ports(next())).toEqual(OPEN);
    expect(network().leadsIn(8080)).toBe(true);
  });

  it("publishes those of a service of which the one before had no time to hear", async () => {
    await start();
    host.machines.killDaemon();
    await workspace.services.close();
    await rm(workspace.paths.services);
    await host.next();
    expect(ports(next())).toEqual(OPEN);
  });

  it("leaves one that was taken meanwhile closed, and says so", async () => {
    await start();
    host.takenPorts.add(8080);
    await host.crash();
    expect(ports(next())).toEqual(closed("port 8080 of 127.0.0.1 is in use"));
  });

  it("forgets those of a service that ended, was never started, or lost its machine", async () => {
    await start();
    supervisor().services.clear();
    await host.crash();
    next();
    await expect.poll(kept).toEqual([]);
    expect(network().ports).toEqual([]);
    await start();
    host.machines.machine.lose();
    await host.crash();
    next();
    await expect.poll(kept).toEqual([]);
    expect([network().ports, ports()]).toEqual([[], []]);
  });

  it("publishes nothing by a file that it cannot read", async () => {
    await start();
    await writeFile(workspace.paths.ports, '[{"ports":"all"}]');
    await host.crash();
    expect([ports(next()), network().ports]).toEqual([[], []]);
  });
});

describe("A fork", () => {
  it("has no ports of the host by its services, and says whose they are; its own it may have", async () => {
    await start();
    const { services } = supervisor();
    host.machines.before = (step) => {
      if (step !== "letOut") return;
      for (const [name, service] of services) supervisor().services.set(name, service);
    };
    const [child] = await host.workspaces.fork(workspace, { count: 1, namePrefix: null }, NEVER);
    if (child === undefined) throw new Error("no child");
    await child.settle(5_000, NEVER);
    const stays = `${workspace.id}, from which this workspace was forked, keeps it`;
    expect([ports(child), network(child).ports]).toEqual([closed(stays), []]);
    expect(ports()).toEqual(OPEN);
    await child.setNetwork(PUBLISHING);
    expect(ports(child)).toEqual(closed(stays));
    await host.crash();
    const found = host.workspaces.find(child.id);
    expect(ports(found)).toEqual(closed(stays));
    await listServices(found, NEVER);
    await stopService(found, "web", NEVER);
    await start([{ ...WEB, hostPort: 8081 }], {}, found);
    expect(ports(found)).toMatchObject([{ hostPort: 8081, state: "open" }]);
  });
});
