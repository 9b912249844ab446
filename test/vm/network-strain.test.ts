import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BLACK_HOLE, FLOOD_PORT, PORT, TestNetwork, withoutNamespaces } from "./host-and-lan.js";
import { eventually, json, pyro, start, testState, type Result, type TestState } from "./support.js";

const skipped = withoutNamespaces();
if (skipped !== undefined) console.log(`no strain on a network: ${skipped}`);

const MIB = 1024 * 1024;
/** What a daemon's memory may differ by from one look to the next, whatever its machines do: 28 MiB were seen. */
const NOISE_BYTES = 40 * MIB;

describe.skipIf(skipped !== undefined)("A machine that asks for too much of the network", () => {
  let state: TestState;
  let network: TestNetwork;
  let daemon: number;
  let id: string;

  beforeAll(async () => {
    state = await testState();
    network = await TestNetwork.open();
    daemon = await network.startDaemon(state.path, {});
    const rules = ["--allow-host-port", String(PORT), "--allow-host-port", String(FLOOD_PORT)];
    const create = ["create", "debian:12", ...rules, "--allow-cidr", BLACK_HOLE, "--json"];
    id = String(json(await call(...create))["workspace_id"]);
    // The first of everything costs memory once.
    expect(await ordinary()).toBe("b'reached\\n'");
  });
  afterAll(async () => {
    await call("delete", id);
    await state[Symbol.asyncDispose]();
    await network[Symbol.asyncDispose]();
  });

  const call = (...args: string[]): Promise<Result> => pyro(["workspace", ...args], { stateDir: state.path });
  const python = (program: string): ReturnType<typeof start> =>
    start(["workspace", "exec", id, "--timeout-seconds", "150", "--", "python3", "-u", "-"], {
      ...{ stateDir: state.path, input: program },
    });
  const ordinary = async (): Promise<string> => {
    const program = `import socket\nprint(socket.create_connection(("10.0.2.2", ${PORT}), 20).recv(9))`;
    return (await python(program).done).stdout.toString().trim();
  };
  /** Memory of the daemon's own, in bytes. */
  const memory = async (): Promise<number> => {
    const status = await readFile(`/proc/${daemon}/status`, "utf8");
    return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  };

  it("by 10,000 half-open connections is refused most of them, costs no memory, and connects again afterwards", async () => {
    const before = await memory();
    const attack = python(`
import errno, resource, select, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
waiting = select.epoll()
made = {}
for _ in range(10000):
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("${BLACK_HOLE}", 80))
    made[one.fileno()] = one
    waiting.register(one, select.EPOLLOUT)
print("begun")
ends = {}
while made:
    for fd, _ in waiting.poll():
        one = made.pop(fd)
        how = errno.errorcode.get(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "connected")
        ends[how] = ends.get(how, 0) + 1
        one.close()
print(sorted(ends.items()))
`);
    let most = 0;
    let ended: Result | undefined;
    void attack.done.then((result) => (ended = result));
    while (ended === undefined) {
      most = Math.max(most, await memory());
      await sleep(250);
    }
    expect(ended).toMatchObject({ code: 0, stderr: "" });
    // At the agent's bound, or at the host's; those that were let through found nobody.
    expect(ended.stdout.toString()).toMatch(
      /^begun\n\[\('ECONNREFUSED', \d{4}\), \('EHOSTUNREACH', \d+\)\]\n$/,
    );
    expect(most - before).toBeLessThan(NOISE_BYTES);
    expect(await ordinary()).toBe("b'reached\\n'");
  });

  it("by 200 connections that are read by nobody at either end holds a bounded part of them in the daemon", async () => {
    const before = await memory();
    const attack = python(`
import socket, time
made = [socket.create_connection(("10.0.2.2", ${FLOOD_PORT}), 20) for _ in range(200)]
chunk = b"x" * 65536
for one in made: one.setblocking(False)
def fill():
    sent = 0
    for one in made:
        try: sent += one.send(chunk)
        except BlockingIOError: pass
    return sent
quiet = 0
while quiet < 20:
    quiet = 0 if fill() else quiet + 1
    time.sleep(0.05)
print("full")
time.sleep(5)
print("still full" if fill() == 0 else "not full", flush=True)
`);
    let said = "";
    attack.stdout?.on("data", (data: Buffer) => (said += data.toString()));
    await eventually("nothing moves any more", () => Promise.resolve(said.includes("full\n")), 120_000);
    const full = await memory();
    await sleep(3_000);
    expect((await memory()) - full).toBeLessThan(NOISE_BYTES);
    // A window of 256 KiB up, what a socket holds and a piece on the link down.
    expect(full - before).toBeLessThan(200 * 512 * 1024);
    console.log(`200 stalled connections: ${((full - before) / MIB).toFixed(1)} MiB of the daemon`);
    expect((await attack.done).stdout.toString()).toBe("full\nstill full\n");
    expect(await ordinary()).toBe("b'reached\\n'");
  });
});
