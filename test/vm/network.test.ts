import { createServer as createHttpServer, type Server } from "node:http";
import { createServer as createTcpServer, type AddressInfo, type Server as TcpServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  eventually,
  json,
  pyro,
  start,
  testState,
  type Result,
  type TestState,
  withoutNetworkWords,
} from "./support.js";

let state: TestState;
let id: string;
let http: Server;
let tcp: TcpServer;
const BODY = Buffer.alloc(3_000_000, "network ");

beforeAll(async () => {
  state = await testState();
  http = createHttpServer((request, response) => {
    response.end(
      request.url === "/big" ? BODY : `you asked for ${request.headers.host ?? ""}${request.url ?? ""}`,
    );
  });
  // Says a word and then holds the connection open.
  tcp = createTcpServer((socket) => {
    socket.on("error", () => undefined);
    socket.write("hello\n");
  });
  await Promise.all(
    [http, tcp].map((server) => new Promise<void>((done) => server.listen(0, "127.0.0.1", done))),
  );
  id = String(json(await call("create", "debian:12", "--json"))["workspace_id"]);
});
afterAll(async () => {
  await call("delete", id);
  await state[Symbol.asyncDispose]();
  await Promise.all([http, tcp].map((server) => new Promise((done) => server.close(done))));
});

const portOf = (server: Server | TcpServer): number => (server.address() as AddressInfo).port;
const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
const exec = (program: string): Promise<Result> => call("exec", id, "--", "python3", "-c", program);
/** What a program wrote, without what pyro says of its network. */
const python = async (program: string): Promise<string> => {
  const { stdout, stderr } = await exec(program);
  return stdout.toString() + withoutNetworkWords(stderr);
};
/** How each attempt to connect ends, one line each. */
const connects = (...targets: (readonly [host: string, port: number])[]): Promise<string> =>
  python(
    `import socket\nfor target in ${JSON.stringify(targets)}:\n` +
      ` try: socket.create_connection(tuple(target), 20); print("connected")\n` +
      ` except OSError as error: print(error.strerror or error)`,
  );

describe("a workspace without a network", () => {
  it("has neither a route nor a resolver, and no device that leads out", async () => {
    expect(await connects(["192.0.2.1", 80], ["10.0.2.2", portOf(http)], ["example.org", 80])).toBe(
      "Network is unreachable\nNetwork is unreachable\nTemporary failure in name resolution\n",
    );
    expect(await python('import os; print(sorted(os.listdir("/sys/class/net")))')).toBe("['lo']\n");
  });
});

describe("a workspace with egress", () => {
  it("reaches the port of the host that its user opened, and nothing else of the host or its networks", async () => {
    const set = await call("network", "set", id, "--allow-host-port", String(portOf(http)), "--json");
    expect(json(set)).toMatchObject({ policy: { mode: "egress", allow_host_ports: [portOf(http)] } });
    const url = `http://host.pyro.internal:${portOf(http)}`;
    const fetched = await python(
      `import urllib.request as u\nprint(u.urlopen("${url}/x").read().decode())\n` +
        `print(len(u.urlopen("${url}/big").read()))`,
    );
    expect(fetched).toBe(`you asked for host.pyro.internal:${portOf(http)}/x\n${BODY.length}\n`);
    const refused = await connects(
      ["10.0.2.2", portOf(tcp)],
      ["host.pyro.internal", portOf(tcp)],
      ["169.254.169.254", 80],
      ["192.168.0.1", 80],
      ["10.0.0.1", 80],
      ["100.64.0.1", 80],
      ["198.51.100.7", 443],
    );
    expect(refused.trim().split("\n")).toEqual(Array.from({ length: 7 }, () => "No route to host"));
    // Its own loopback is its own: nobody of the host answers there.
    expect(await connects(["127.0.0.1", portOf(http)])).toBe("Connection refused\n");
  });

  it("is told at once that UDP leads nowhere", async () => {
    const udp = 's=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("192.0.2.1", 123))';
    expect(await python(`import socket\n${udp}`)).toContain("Network is unreachable");
  });

  it("has a record of each connection and refusal, with who opened it and how it could be allowed", async () => {
    const shown = json(await call("network", id, "--json")) as {
      totals: Record<string, number>;
      entries: Record<string, unknown>[];
    };
    expect(shown.totals["bytes_down"]).toBeGreaterThan(BODY.length);
    expect(shown.entries).toContainEqual(
      expect.objectContaining({
        ...{ decision: "allowed", name: "host.pyro.internal", port: portOf(http), address: "10.0.2.2" },
        opened_by: expect.stringMatching(/./) as string,
      }),
    );
    expect(shown.entries).toContainEqual(
      expect.objectContaining({
        ...{ decision: "refused", address: "169.254.169.254" },
        hint: expect.stringContaining("--allow-cidr") as string,
      }),
    );
  });

  it("tells who follows it of each connection as it is made", async () => {
    const following = start(["workspace", "network", id, "--follow", "--json"], { stateDir: state.path });
    let told = "";
    following.stdout?.on("data", (chunk: Buffer) => (told += chunk.toString()));
    await eventually("a refusal is told", async () => {
      await connects(["198.51.100.8", 443]);
      return told.includes("\n");
    });
    following.kill("SIGINT");
    expect((await following.done).code).toBe(130);
    expect(JSON.parse(told.split("\n", 1)[0] ?? "")).toMatchObject({
      ...{ decision: "refused", address: "198.51.100.8", port: 443, opened_by: expect.any(String) as string },
    });
  });

  it("tells whoever reads the command what was refused while it ran, and how its user could allow it", async () => {
    const { stderr } = await exec(
      'import socket\ntry: socket.create_connection(("169.254.169.254", 80), 20)\nexcept OSError: pass',
    );
    expect(stderr).toMatch(/^pyro: network: .* refuses 169\.254\.169\.254.*--allow-cidr.*\n$/);
    expect(json(await call("status", id, "--json"))["last_command"]).toMatchObject({
      network_refusal: expect.stringMatching(/169\.254\.169\.254.*--allow-cidr/) as string,
    });
    const { stdout: summary } = await call("summary", id);
    expect(summary.toString()).toContain(
      `pyro workspace network set ${id} --add --allow-cidr 169.254.169.254`,
    );
    await python("print(1)");
    expect(json(await call("status", id, "--json"))["last_command"]).toMatchObject({ network_refusal: null });
  });

  it("refuses a policy with all that is wrong in it, and keeps the one before", async () => {
    const rules = [
      "--network-allow",
      "exa mple",
      "--network-deny",
      "example.org:0",
      "--allow-cidr",
      "evil.test",
    ];
    const refused = await call("network", "set", id, ...rules);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("INVALID_NETWORK_POLICY")]);
    for (const wrong of ["exa mple", "example.org:0", "evil.test"]) expect(refused.stderr).toContain(wrong);
    expect(json(await call("status", id, "--json"))).toMatchObject({ network_policy: "egress" });
  });

  it("loses its connections with a reason when the policy, the daemon or the machine changes, and makes new ones", async () => {
    await call("network", "set", id, "--allow-host-port", String(portOf(tcp)));
    const hold =
      `import socket\ns=socket.create_connection(("10.0.2.2", ${portOf(tcp)}))\nprint(s.recv(9), flush=True)\n` +
      `try: print(s.recv(9), flush=True)\nexcept OSError as error: print(error.strerror, flush=True)`;
    const changes: Readonly<Record<string, () => Promise<unknown>>> = {
      policy: () => call("network", "set", id, "--network-policy", "egress"),
      daemon: async () => {
        const status = json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }));
        process.kill(Number(status["pid"]), "SIGKILL");
      },
      snapshot: () => call("snapshot", "create", id, "live", "--memory"),
      fork: () => call("fork", id),
      suspend: () => call("stop", id, "--suspend").then(() => call("start", id)),
    };
    for (const [what, change] of Object.entries(changes)) {
      await call("network", "set", id, "--allow-host-port", String(portOf(tcp)));
      const holding = start(["workspace", "exec", id, "--", "python3", "-c", hold], { stateDir: state.path });
      let said = "";
      holding.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
      await eventually("it is connected", () => Promise.resolve(said.includes("hello")));
      await change();
      const { stdout } = await holding.done;
      expect([what, stdout.toString()]).toEqual([what, "b'hello\\n'\nConnection reset by peer\n"]);
    }
    await call("network", "set", id, "--allow-host-port", String(portOf(tcp)));
    expect(await connects(["10.0.2.2", portOf(tcp)])).toBe("connected\n");
    const { workspaces } = json(await call("list", "--json")) as { workspaces: { workspace_id: string }[] };
    const [child] = workspaces.filter(({ workspace_id: other }) => other !== id);
    expect(child).toBeDefined();
    await call("delete", child?.workspace_id ?? "");
  });
});

describe("one command in a fresh VM", () => {
  it("has the network that --network gives, without the networks of the host, and none by itself", async () => {
    const program = `import socket\ntry: socket.create_connection(("10.0.0.1", 80), 20)\nexcept OSError as error: print(error.strerror)`;
    const out = await pyro(["run", "debian:12", "--network", "--", "python3", "-c", program], {
      stateDir: state.path,
    });
    expect(out.stdout.toString()).toBe("No route to host\n");
    const off = await pyro(["run", "debian:12", "--", "python3", "-c", program], { stateDir: state.path });
    expect(off.stdout.toString()).toBe("Network is unreachable\n");
  });
});
