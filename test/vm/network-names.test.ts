import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ADDRESSES, PORT, TestNetwork, withoutNamespaces } from "./host-and-lan.js";
import { json, pyro, start, testState, type Result, type TestState, withoutNetworkWords } from "./support.js";

const skipped = withoutNamespaces();
if (skipped !== undefined) console.log(`no name server of its own: ${skipped}`);

describe.skipIf(skipped !== undefined)("Names in a machine", () => {
  let state: TestState;
  let network: TestNetwork;
  let id: string;

  beforeAll(async () => {
    state = await testState();
    network = await TestNetwork.open();
    await network.startDaemon(state.path, {});
    const create = ["create", "debian:12", "--allow-cidr", `${ADDRESSES.lan.ipv4}:${PORT}`, "--json"];
    id = String(json(await call(...create))["workspace_id"]);
  });
  afterAll(async () => {
    await call("delete", id);
    await state[Symbol.asyncDispose]();
    await network[Symbol.asyncDispose]();
  });

  const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
  /** What python says, whose `connect` says how a connection to a name ends. */
  const python = async (program: string): Promise<string[]> => {
    const connect = `
import socket
def connect(name):
    try: return name + ": " + socket.create_connection((name, ${PORT}), 60).recv(9).decode().strip()
    except OSError as error: return name + ": " + (error.strerror or str(error))
`;
    const words = ["workspace", "exec", id, "--timeout-seconds", "150", "--", "python3", "-u", "-"];
    const { stdout, stderr } = await start(words, { stateDir: state.path, input: connect + program }).done;
    expect(withoutNetworkWords(stderr)).toBe("");
    return stdout.toString().trim().split("\n");
  };
  const entries = async (): Promise<unknown> => json(await call("network", id, "--json"))["entries"];

  it("whose server lies or loops fail at once, beside one that works", async () => {
    const names = ["lan", "lie", "loop", "none"].map((name) => `${name}.example.org`);
    const said = await python(`for name in ${JSON.stringify(names)}: print(connect(name))`);
    expect(said).toEqual([
      "lan.example.org: reached",
      "lie.example.org: Name or service not known",
      expect.stringMatching(
        /^loop.example.org: (Temporary failure in name resolution|Name or service not known)$/,
      ),
      "none.example.org: Name or service not known",
    ]);
    expect(await entries()).toContainEqual(
      expect.objectContaining({ kind: "name", decision: "refused", name: "lie.example.org" }),
    );
    expect(network.reached("host").tcp).toBe(0);
  });

  it("whose server never answers fail in time, and hold nobody up for longer", async () => {
    const before = network.reached("lan").tcp;
    const said = await python(`
import concurrent.futures, time
with concurrent.futures.ThreadPoolExecutor(20) as threads:
    began = time.monotonic()
    for how in threads.map(connect, [f"never.of{n}.example.org" for n in range(20)]): print(how.split(": ")[1])
while connect("lan.example.org") != "lan.example.org: reached": time.sleep(1)
print("works again")
`);
    expect(said).toEqual([...Array<string>(20).fill("Temporary failure in name resolution"), "works again"]);
    expect(network.reached("lan").tcp).toBe(before + 1);
  });

  it("that the machine answers for itself lead nowhere that the host's answer did not", async () => {
    const allow = ["--network-allow", "lan.example.org", "--network-allow", "good.example.org"];
    expect((await call("network", "set", id, ...allow)).code).toBe(0);
    const packets = network.packetsOnLan();
    // Of the public internet, as far as anybody could say; this host's way there ends on its LAN.
    const said = await python(`
open("/etc/hosts", "a").write("8.8.4.4 good.example.org\\n2001:4860:4860::8844 good.example.org\\n")
print(connect("good.example.org"))
`);
    expect(said).toEqual([expect.stringMatching(/^good.example.org: (No route to host|Permission denied)$/)]);
    expect(network.packetsOnLan()).toEqual(packets);
    expect(await entries()).toContainEqual(
      expect.objectContaining({ kind: "connection", decision: "refused", address: "8.8.4.4" }),
    );
  });
});
