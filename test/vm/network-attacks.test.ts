import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAddress } from "../../src/network/index.js";
import { ADDRESSES, PORT, TestNetwork, withoutNamespaces, type Reached } from "./host-and-lan.js";
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

/** A way of this host's own to what no machine may reach: each name is in its hosts file. */
const NAMES: Readonly<Record<string, string>> = {
  "loopback.example.org": "127.0.0.1",
  "loopback6.example.org": "::1",
  "mapped.example.org": "::ffff:127.0.0.1",
  "nat64.example.org": "64:ff9b::7f00:1",
  "host.example.org": ADDRESSES.host.ipv4,
  "lan.example.org": ADDRESSES.lan.ipv4,
  "lan6.example.org": ADDRESSES.lan.ipv6,
  "metadata.example.org": "169.254.169.254",
};
/** Whatever a machine may not reach: the host, its LAN, the machines of others and itself. */
const TARGETS = {
  4: ["127.0.0.1", ADDRESSES.host.ipv4, ADDRESSES.lan.ipv4, "10.0.2.15"],
  6: ["::1", ADDRESSES.host.ipv6, ADDRESSES.lan.ipv6, "fd70:7972:6f00::15"],
} as const;

interface Counts {
  readonly host: Reached;
  readonly lan: Reached;
  readonly packets: Readonly<Record<string, number>>;
  readonly other: number;
}

const skipped = withoutNamespaces();
if (skipped !== undefined) console.log(`no attack on a network: ${skipped}`);

describe.skipIf(skipped !== undefined)("Root in a machine with egress", () => {
  let state: TestState;
  let network: TestNetwork;
  let daemon: number;
  let id: string;
  let other: string;

  beforeAll(async () => {
    state = await testState();
    network = await TestNetwork.open();
    daemon = await network.startDaemon(state.path, NAMES);
    const create = ["create", "debian:12", "--network-policy", "egress", "--json"] as const;
    id = String(json(await call(...create))["workspace_id"]);
    other = String(json(await call(...create))["workspace_id"]);
    await call(
      "service",
      "start",
      other,
      "target",
      "--ready-tcp",
      `127.0.0.1:${PORT}`,
      "--",
      "python3",
      "-uc",
      IN_THE_OTHER,
    );
  });
  afterAll(async () => {
    for (const one of [id, other]) await call("delete", one);
    await state[Symbol.asyncDispose]();
    await network[Symbol.asyncDispose]();
  });

  const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
  const inside = (input: string, ...words: string[]): Promise<Result> =>
    start(["workspace", "exec", id, "--timeout-seconds", "170", "--", "python3", "-", ...words], {
      ...{ stateDir: state.path, input },
    }).done;
  const setNetwork = async (...rules: string[]): Promise<void> => {
    const { code, stderr } = await call("network", "set", id, "--network-policy", "egress", ...rules);
    expect([code, stderr]).toEqual([0, ""]);
  };
  /** Whether a plain connection of the first machine comes about. */
  const connects = async (host: string): Promise<string> => {
    const program = `import socket\ntry: print(socket.create_connection(("${host}", ${PORT}), 20).recv(9))\nexcept OSError as error: print(error.strerror)`;
    return (await inside(program)).stdout.toString().trim();
  };
  const inOther = async (): Promise<number> => {
    const { stdout } = await call("service", "logs", other, "target", "--all");
    return stdout.toString().split("reached").length - 1;
  };
  const all = async (): Promise<Counts> => ({
    ...{ host: network.reached("host"), lan: network.reached("lan") },
    ...{ packets: network.packetsOnLan(), other: await inOther() },
  });
  const entries = async (): Promise<Record<string, unknown>[]> =>
    json(await call("network", id, "--limit", "1000", "--json"))["entries"] as Record<string, unknown>[];

  it("is counted where it is let in: on the loopback, on the LAN, and in the other machine", async () => {
    const before = { host: network.reached("host"), lan: network.reached("lan"), other: await inOther() };
    const segments = network.packetsOnLan()["segments"] ?? 0;
    await setNetwork("--allow-host-port", String(PORT), "--allow-cidr", `${ADDRESSES.lan.ipv4}:${PORT}`);
    expect(await connects("host.pyro.internal")).toBe("b'reached\\n'");
    expect(await connects("lan.example.org")).toBe("b'reached\\n'");
    const itself = `import socket; socket.create_connection(("10.0.2.15", ${PORT}), 20)`;
    expect((await call("exec", other, "--", "python3", "-c", itself)).code).toBe(0);
    const onceMore = ({ tcp, udp }: Reached): Reached => ({ tcp: tcp + 1, udp });
    expect(network.reached("host")).toEqual(onceMore(before.host));
    expect(network.reached("lan")).toEqual(onceMore(before.lan));
    expect(network.packetsOnLan()["segments"]).toBeGreaterThan(segments);
    await eventually("the other machine has counted", async () => (await inOther()) > before.other);
  });

  it("reaches nothing by names, spellings, packets, routes and devices of its own, nor without the agent's programs", async () => {
    await setNetwork();
    const before = await all();
    const targets = { addresses: TARGETS, names: Object.keys(NAMES), ports: [PORT, 22, 53], udp: PORT };
    const { stdout, stderr } = await inside(attack("ways_out"), JSON.stringify(targets));
    const said = stdout.toString().trim().split("\n");
    const attempts = said
      .slice(0, -1)
      .map((line) => JSON.parse(line) as readonly [what: string, how: string]);
    expect(withoutNetworkWords(stderr)).toBe("");
    expect(attempts.length).toBeGreaterThan(2000);
    expect(attempts.filter(([, how]) => /connected|answered$|[1-9] addresses/.test(how))).toEqual([]);
    // Whatever it made itself leads nowhere; of ours there is lo.
    const devices = JSON.parse(said.at(-1) ?? "[]") as string[];
    expect(devices.filter((name) => !name.startsWith("out-"))).toEqual(["lo"]);
    expect(await all()).toEqual(before);
    const record = await entries();
    for (const address of [ADDRESSES.lan.ipv4, ADDRESSES.lan.ipv6, "169.254.169.254", ADDRESSES.host.ipv4]) {
      expect(record).toContainEqual(expect.objectContaining({ decision: "refused", address }));
    }
    expect(record).toContainEqual(
      expect.objectContaining({ kind: "name", decision: "refused", name: "loopback.example.org" }),
    );
  });

  it("has spoilt its own network only: its user gives it back, and the other machine has had its own all the time", async () => {
    const set = await call("network", "set", id, "--allow-host-port", String(PORT));
    expect([set.code, set.stderr]).toEqual([1, expect.stringContaining("NETWORK_NOT_AVAILABLE") as string]);
    for (const step of ["stop", "start"]) expect((await call(step, id)).code).toBe(0);
    expect(await connects("host.pyro.internal")).toBe("b'reached\\n'");
    expect((await call("exec", other, "--", "true")).code).toBe(0);
    expect(alive(daemon)).toBe(true);
  });

  it("is what `pyro doctor --egress-selftest` looks for, on the host where the daemon is", async () => {
    const sound = await network.pyro(state.path, "doctor", "--egress-selftest");
    const lines = sound.stdout.split("\n").filter((line) => line.includes("egress, "));
    expect(lines.filter((line) => !line.startsWith("ok "))).toEqual([]);
    expect(lines.join("\n")).toContain(`the host itself: ${ADDRESSES.host.ipv4} port`);
    expect(lines.length).toBeGreaterThan(12);
    // Elsewhere its own server is not the daemon's: it cannot tell, and says so.
    const blind = await pyro(["doctor", "--egress-selftest", "--json"], { stateDir: state.path });
    expect(blind.code).toBe(1);
    expect(json(blind)).toMatchObject({
      ok: false,
      checks: expect.arrayContaining([
        expect.objectContaining({ name: "egress, the way out", ok: false }),
      ]) as unknown,
    });
    const { workspaces } = json(await call("list", "--json")) as { workspaces: unknown[] };
    expect(workspaces).toHaveLength(2);
  });

  it("is judged by the same policy when it speaks in the agent's place", async () => {
    await setNetwork("--allow-host-port", String(PORT));
    const before = await all();
    const refused = [
      ...Object.values(TARGETS).flat(),
      ...[
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "169.254.169.254",
      ],
      ...["10.0.2.3", "127.255.255.254", "fe80::1", "255.255.255.255", "ff02::1"],
    ].map((text) => [hex(text), PORT] as const);
    // The door that is open, by which the forger shows that it knows the language; then other ports, and none.
    const places = [[hex("10.0.2.2"), PORT], [hex("10.0.2.2"), 22], ...refused];
    const wanted = {
      places,
      names: [...Object.keys(NAMES), "localhost", "host.pyro.internal\0.example.org"],
    };
    const forging = inside(attack("forged_agent"), "/root/forged.json", JSON.stringify(wanted));
    // The forger learns the epoch from what the host says to the agent, which is halted and does not answer.
    await eventually("the forger has ended", async () => {
      await call("file", "list", id, "/root");
      return await Promise.race([forging.then(() => true), sleep(500, false)]);
    });
    const { code, stderr: why } = await forging;
    expect([code, why]).toEqual([
      125,
      expect.stringContaining("the guest agent broke the protocol") as string,
    ]);
    // Whoever lies once is not spoken to again; its disk goes on with another machine.
    const untrusted = await call("exec", id, "--", "true");
    expect([untrusted.code, untrusted.stderr]).toEqual([
      125,
      expect.stringContaining("GUEST_PROTOCOL_ERROR") as string,
    ]);
    for (const step of ["stop", "start"]) expect((await call(step, id)).code).toBe(0);
    const read = await call("exec", id, "--", "cat", "/root/forged.json");
    expect([read.code, read.stderr]).toEqual([0, ""]);
    const result = JSON.parse(read.stdout.toString()) as {
      readonly epoch: number;
      readonly places: string[];
      readonly names: string[];
    };
    expect(result.places[0]).toBe("opened");
    expect(result.places.slice(1).filter((said) => !said.includes("the network policy refuses"))).toEqual([]);
    expect(result.places).toHaveLength(places.length);
    expect(result.names.filter((answer) => answer === "addresses" || answer === "no answer")).toEqual([]);
    // Once, through the open door.
    const { tcp, udp } = before.host;
    expect(await all()).toEqual({ ...before, host: { tcp: tcp + 1, udp } });
    expect(alive(daemon)).toBe(true);
    expect(await entries()).toContainEqual(
      expect.objectContaining({ decision: "refused", address: "127.0.0.1" }),
    );
    expect((await call("exec", other, "--", "true")).code).toBe(0);
  });
});

/** Listens on all addresses, and says of each who reaches it. */
const IN_THE_OTHER = `
import selectors, socket
waiting = selectors.DefaultSelector()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    made = socket.socket(socket.AF_INET6, kind)
    made.bind(("::", ${PORT}))
    if kind == socket.SOCK_STREAM: made.listen(64)
    waiting.register(made, selectors.EVENT_READ)
while True:
    for key, _ in waiting.select():
        if key.fileobj.type == socket.SOCK_STREAM:
            taken, where = key.fileobj.accept()
            taken.close()
        else: where = key.fileobj.recvfrom(99)[1]
        print("reached", where)
`;

function attack(name: string): string {
  return readFileSync(join(import.meta.dirname, "attacks", `${name}.py`), "utf8");
}

function hex(address: string): string {
  const parsed = parseAddress(address);
  if (parsed === undefined) throw new Error(`no address: ${address}`);
  return Buffer.from(parsed.bytes).toString("hex");
}

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
