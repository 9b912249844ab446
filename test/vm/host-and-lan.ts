import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { baseEnvironment, complete, type Completed } from "../../src/kit/index.js";
import { eventually, json, pyro, PYRO } from "./support.js";

/** Where everything listens. */
export const PORT = 4000;
/** Where the host has a server that writes without end, and reads nothing. */
export const FLOOD_PORT = 4001;
/** On the LAN; whatever is sent there is lost. */
export const BLACK_HOLE = "192.168.213.99";

/** Of the two: the host's interface on its LAN, and another computer there. */
export const ADDRESSES = {
  host: { ipv4: "192.168.213.1", ipv6: "fd50:7972:6f00:213::1" },
  lan: { ipv4: "192.168.213.2", ipv6: "fd50:7972:6f00:213::2" },
} as const;

/** What reached a namespace: connections and datagrams to what listens there. */
export interface Reached {
  readonly tcp: number;
  readonly udp: number;
}

/** Listens on all addresses of its namespace, and prints the counts whenever one grows. */
const LISTENER = `
  const chunk = Buffer.alloc(65536);
  require("node:net").createServer((socket) => {
    const more = () => { while (socket.write(chunk)); };
    socket.on("error", () => {}).on("drain", more);
    more();
  }).listen(${FLOOD_PORT}, "127.0.0.1");
  const counts = { tcp: 0, udp: 0 };
  const tell = () => console.log(JSON.stringify(counts));
  const hit = (kind) => { counts[kind] += 1; tell(); };
  const dgram = require("node:dgram").createSocket({ type: "udp6" });
  dgram.on("message", () => hit("udp")).bind(${PORT}, () => {
    require("node:net").createServer((socket) => { hit("tcp"); socket.on("error", () => {}); socket.end("reached\\n"); })
      .listen(${PORT}, "::", tell);
  });`;

/**
 * The name server of the host: `lan.` is on the LAN, `lie.` the loopback, `loop.` another name for itself, and `never.` is
 * not answered at all. Other names do not exist.
 */
const NAME_SERVER = `
  const socket = require("node:dgram").createSocket("udp4");
  const addresses = { lan: "${ADDRESSES.lan.ipv4}", lie: "127.0.0.1" };
  socket.on("message", (query, from) => {
    let end = 12;
    while (query[end] !== 0) end += query[end] + 1;
    const first = query.toString("latin1", 13, 13 + query[12]);
    if (first === "never") return;
    const isA = query.readUInt16BE(end + 1) === 1;
    const address = addresses[first];
    const answer = first === "loop" ? [5, 2, 0xc0, 12] : address && isA ? [1, 4, ...address.split(".").map(Number)] : [];
    const [kind, length, ...data] = answer;
    const record = answer.length === 0 ? [] : [0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, length, ...data];
    const head = Buffer.alloc(12);
    query.copy(head, 0, 0, 2);
    head.writeUInt16BE(first === "loop" || address ? 0x8180 : 0x8183, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(answer.length === 0 ? 0 : 1, 6);
    socket.send([head, query.subarray(12, end + 5), Buffer.from(record)], from.port, from.address);
  }).bind(53, "127.0.0.1");`;

/** Why this host cannot make network namespaces; undefined where it can. */
export function withoutNamespaces(): string | undefined {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  if (spawnSync("ip", ["-V"]).status !== 0) return "`ip` is not here (package iproute2)";
  const tried = spawnSync("unshare", ["--net", "--mount", "true"]);
  return tried.status === 0 ? undefined : `network namespaces cannot be made here: ${String(tried.stderr)}`;
}

/**
 * A host and its LAN, both network namespaces that are joined by one cable: nothing of them leads to the network of the
 * machine that runs the test. A daemon that is started in the first takes it for its host.
 */
export class TestNetwork implements AsyncDisposable {
  readonly #namespaces: readonly { readonly name: string; readonly listener: ChildProcess }[];
  readonly #counts = new Map<string, Reached>();
  #daemon: ChildProcess | undefined;

  private constructor(private readonly stem: string) {
    this.#namespaces = (["host", "lan"] as const).map((which) => {
      const name = `${stem}-${which}`;
      const program = which === "host" ? LISTENER + NAME_SERVER : LISTENER;
      const listener = spawn("ip", ["netns", "exec", name, process.execPath, "-e", program], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      listener.stdout.on("data", (text: Buffer) => {
        const [line = ""] = text.toString().trim().split("\n").slice(-1);
        this.#counts.set(which, JSON.parse(line) as Reached);
      });
      return { name, listener };
    });
  }

  static async open(): Promise<TestNetwork> {
    const stem = `pyro-${process.pid}`;
    for (const which of ["host", "lan"]) ip("netns", "add", `${stem}-${which}`);
    ip(
      "-n",
      `${stem}-host`,
      "link",
      "add",
      "lan",
      "type",
      "veth",
      "peer",
      "name",
      "lan",
      "netns",
      `${stem}-lan`,
    );
    for (const which of ["host", "lan"] as const) {
      const { ipv4, ipv6 } = ADDRESSES[which];
      const here = ["-n", `${stem}-${which}`];
      ip(...here, "address", "add", `${ipv4}/24`, "dev", "lan");
      ip(...here, "address", "add", `${ipv6}/64`, "dev", "lan", "nodad");
      for (const device of ["lo", "lan"]) ip(...here, "link", "set", device, "up");
      // What goes nowhere else goes to the LAN: nothing is out of reach for want of a route.
      const other = ADDRESSES[which === "host" ? "lan" : "host"];
      ip(...here, "route", "add", "default", "via", other.ipv4);
      ip(...here, "-6", "route", "add", "default", "via", other.ipv6);
    }
    const nobody = ["lladdr", "02:00:00:00:00:99", "nud", "permanent"];
    ip("-n", `${stem}-host`, "neighbour", "add", BLACK_HOLE, "dev", "lan", ...nobody);
    const made = new TestNetwork(stem);
    await eventually("both listen", () => Promise.resolve(made.#counts.size === 2));
    return made;
  }

  /** What reached the listeners of the host, and of the LAN. */
  reached(which: "host" | "lan"): Reached {
    return this.#counts.get(which) ?? { tcp: -1, udp: -1 };
  }

  /**
   * What the kernel of the LAN took from the cable, whatever its port: segments, datagrams, echo requests. The
   * neighbours' own talk is not among it.
   */
  packetsOnLan(): Readonly<Record<string, number>> {
    const file = ["netns", "exec", `${this.stem}-lan`, "cat", "/proc/net/snmp", "/proc/net/snmp6"];
    const lines = ip(...file).split("\n");
    const count = (protocol: string, name: string): number => {
      const [names = "", values = ""] = lines.filter((line) => line.startsWith(`${protocol}: `));
      return Number(values.split(" ")[names.split(" ").indexOf(name)]);
    };
    const count6 = (name: string): number =>
      Number(lines.find((line) => line.split(/\s+/)[0] === name)?.split(/\s+/)[1]);
    return {
      segments: count("Tcp", "InSegs"),
      datagrams: count("Udp", "InDatagrams") + count("Udp", "NoPorts"),
      echoes: count("Icmp", "InEchos"),
      datagrams6: count6("Udp6InDatagrams") + count6("Udp6NoPorts"),
      echoes6: count6("Icmp6InEchos"),
    };
  }

  /** Starts the daemon of a state directory in the host's namespace, where these names are in the hosts file, and the rest is its name server's. */
  async startDaemon(stateDir: string, names: Readonly<Record<string, string>>): Promise<number> {
    const hosts = join(stateDir, "hosts");
    const lines = Object.entries({ localhost: "127.0.0.1", ...names }).map(([name, at]) => `${at} ${name}\n`);
    await writeFile(hosts, lines.join(""));
    const resolver = join(stateDir, "resolv.conf");
    await writeFile(resolver, "nameserver 127.0.0.1\n");
    const mounts = `mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf`;
    const program = `${mounts} && exec "$3" "$4" --state-dir "$5" daemon run`;
    const words = ["sh", "-c", program, "sh", hosts, resolver, process.execPath, PYRO, stateDir];
    this.#daemon = spawn("ip", ["netns", "exec", `${this.stem}-host`, ...words], {
      env: { ...process.env, PYRO_POOL: "0" },
      stdio: "ignore",
    });
    const pid = this.#daemon.pid ?? 0;
    // A command that came first would start a daemon of its own, on the host that runs the test.
    await eventually("the daemon of that host answers", async () => {
      return json(await pyro(["daemon", "status", "--json"], { stateDir }))["pid"] === pid;
    });
    return pid;
  }

  /** The built command, run on that host. */
  async pyro(stateDir: string, ...args: readonly string[]): Promise<Completed> {
    const words = [
      "netns",
      "exec",
      `${this.stem}-host`,
      process.execPath,
      PYRO,
      "--state-dir",
      stateDir,
      ...args,
    ];
    return await complete("ip", words, { env: baseEnvironment() });
  }

  /** Nothing of it is left afterwards; the daemon has to be gone before. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon !== undefined) await ended(this.#daemon);
    for (const { name, listener } of this.#namespaces) {
      listener.kill("SIGKILL");
      await ended(listener);
      ip("netns", "del", name);
    }
    const left = ip("netns", "list");
    if (left.includes(this.stem)) throw new Error(`network namespaces are left: ${left}`);
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once("exit", resolve));
  }
}

function ip(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
  return stdout;
}
