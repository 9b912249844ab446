/** Published ports as a model, a person and a program see them: the real domain over a fake machine. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Pyro } from "../../../src/sdk/index.js";
import { NO_NETWORK } from "../../../src/workspace/index.js";
import { cli } from "../../fakes/cli-host.js";
import { mcpSession, type McpSession } from "../../fakes/mcp-client.js";
import { serveWorkspaces, WorkspaceHost } from "../../fakes/workspace-host.js";

const PUBLISHING = { ...NO_NETWORK, mode: "egress+published-ports", allow: ["*"] } as const;
const OPEN = { host: "127.0.0.1", protocol: "tcp", state: "open", reason: null } as const;

let host: WorkspaceHost;
let served: Awaited<ReturnType<typeof serveWorkspaces>>;
let id: string;
beforeEach(async () => {
  host = await WorkspaceHost.start();
  served = await serveWorkspaces(host);
  id = (await host.create({ name: "fix-1", network: PUBLISHING })).id;
});
afterEach(async () => {
  await served[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

const pyro = (...args: string[]) => cli(["--state-dir", served.stateDir, "workspace", ...args]);

describe("A model", () => {
  const session = (policy: "egress" | "egress+published-ports"): Promise<McpSession> =>
    mcpSession({
      ...{ mode: "cold-start", noProjectSource: true, stateDir: served.stateDir, blockMs: 2_500 },
      network: { policy },
    });
  const start = async (policy: Parameters<typeof session>[0], ports: unknown) => {
    await using with_ = await session(policy);
    return await with_.tool("service_start", {
      ...{ workspace_id: "fix-1", service_name: "web", command: "serve", published_ports: ports },
    });
  };

  it("publishes ports where its user lets it, and reads where they are", async () => {
    const { record, texts } = await start("egress+published-ports", [
      { guest_port: 3000, host_port: 8080 },
      { guest_port: 9229 },
    ]);
    expect(record).toMatchObject({
      published_ports: [
        { ...OPEN, host_port: 8080, guest_port: 3000 },
        { ...OPEN, host_port: 49_229, guest_port: 9229 },
      ],
    });
    expect(texts[0]).toMatch(/^ports +127\.0\.0\.1:8080 → 3000\n +127\.0\.0\.1:49229 → 9229$/m);
  });

  it.each([
    ["egress", [{ guest_port: 3000 }], /published_ports/],
    ["egress+published-ports", [{ guest_port: 0 }], /guest_port/],
    ["egress+published-ports", [{ host_port: 8080 }], /guest_port/],
    ["egress+published-ports", [{ guest_port: 1, host_port: 0 }], /host_port/],
    ["egress+published-ports", [{ guest_port: 1, host: "0.0.0.0" }], /host/],
    [
      "egress+published-ports",
      [{ guest_port: 1, host_port: 9000 }],
      /^PORT_TAKEN: port 9000 of 127\.0\.0\.1.*\n.*such as host_port=9001, or none,/,
    ],
  ] as const)("of a server with %s cannot publish %j", async (policy, ports, message) => {
    host.takenPorts.add(9000);
    const { isError, texts } = await start(policy, ports);
    expect([isError, texts[0]]).toEqual([true, expect.stringMatching(message)]);
    expect(host.machines.machine.supervisor.specs).toEqual([]);
  });

  it("is told that only the user can allow it in a workspace whose policy does not", async () => {
    await host.workspaces.find("fix-1").setNetwork(NO_NETWORK);
    const { isError, texts } = await start("egress+published-ports", [{ guest_port: 1 }]);
    expect([isError, texts[0]]).toEqual([true, expect.stringMatching(/^PUBLISHING_NOT_ALLOWED/)]);
  });
});

describe("A person", () => {
  it("publishes ports, sees them in every view of the service, and they go with it", async () => {
    const words = ["--publish", "8080:3000", "--publish", "9229", "--", "serve"];
    const started = await pyro("service", "start", "fix-1", "web", ...words);
    expect([started.status, started.stdout]).toEqual([
      0,
      expect.stringMatching(/^ports +127\.0\.0\.1:8080 → 3000\n +127\.0\.0\.1:49229 → 9229$/m),
    ]);
    expect((await pyro("service", "list", "fix-1")).stdout).toMatch(
      /^web .* 127\.0\.0\.1:8080 → 3000, 127\.0\.0\.1:49229 → 9229 +serve$/m,
    );
    expect((await pyro("port", "list", "fix-1")).stdout).toBe(
      "127.0.0.1:8080 → web:3000\n127.0.0.1:49229 → web:9229\n",
    );
    expect(JSON.parse((await pyro("port", "list", "fix-1", "--json")).stdout)).toEqual({
      workspace_id: id,
      ports: [
        { ...OPEN, service_name: "web", host_port: 8080, guest_port: 3000 },
        { ...OPEN, service_name: "web", host_port: 49_229, guest_port: 9229 },
      ],
    });
    await host.workspaces.find("fix-1").setNetwork(NO_NETWORK);
    expect((await pyro("service", "status", "fix-1", "web")).stdout).toMatch(
      /^ports +127\.0\.0\.1:8080 → 3000 \(closed: the policy is off\)$/m,
    );
    await pyro("service", "stop", "fix-1", "web");
    expect((await pyro("port", "list", "fix-1")).stdout).toMatch(/^no port is published/);
  });

  it.each([
    ["0", "is no port\nhint: write --publish 8080:3000, or --publish 3000"],
    ["http", "is no port"],
    ["3000/udp", "is no port"],
    ["70000", "is no port"],
    ["8080:", "is no port\nhint: write --publish 8080:3000"],
    [":3000", "is no port\nhint: write --publish 8080:3000, or --publish 3000 and the system chooses"],
    ["0:3000", "is no port"],
    [
      "0.0.0.0:8080:3000",
      "names an address, and ports listen on 127.0.0.1 only\nhint: write --publish 8080:3000",
    ],
  ])("that writes --publish %s is told how to", async (text, message) => {
    const { status, stderr } = await pyro(
      "service",
      "start",
      "fix-1",
      "web",
      "--publish",
      text,
      "--",
      "serve",
    );
    expect([status, stderr]).toEqual([1, expect.stringContaining(message)]);
    expect(host.machines.machine.supervisor.specs).toEqual([]);
  });
});

describe("A program", () => {
  it("has the same by the SDK", async () => {
    await using client = new Pyro({ stateDir: served.stateDir });
    const service = { workspaceId: "fix-1", serviceName: "web", command: "serve" };
    const { publishedPorts } = await client.startService({
      ...service,
      publishedPorts: [{ guestPort: 3000, hostPort: 8080 }, { guestPort: 1 }],
    });
    expect(publishedPorts).toEqual([
      { ...OPEN, hostPort: 8080, guestPort: 3000 },
      { ...OPEN, hostPort: 40_001, guestPort: 1 },
    ]);
    expect((await client.listPorts("fix-1")).ports).toEqual(
      publishedPorts.map((port) => ({ ...port, serviceName: "web" })),
    );
    for (const port of [{ guestPort: 0 }, { guestPort: 1.5 }, { guestPort: 1, hostPort: 0 }])
      await expect(
        client.startService({ ...service, serviceName: "other", publishedPorts: [port] }),
      ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
