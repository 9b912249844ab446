import { connect } from "node:net";
import { freshIdentity, setClock } from "../src/daemon/identity.js";
import type { GuestConnection } from "../src/guest/index.js";
import { Gateway, NetworkRecord, policyFromFlags, SharedLookUp } from "../src/network/index.js";
import { memoryOf } from "../src/operations/bench/processes.js";
import { median, repeat, timed } from "../src/operations/bench/samples.js";
import { rates } from "./link-floors.js";
import { runProgram, startServer } from "./network-programs.js";
import { rawMachine, type RawMachine } from "./raw-machine.js";
import type { Row } from "./report.js";
import { openRig, type Subject } from "./rig.js";

const ROUNDS = 5;
const UNREAD = 200;

/**
 * What a connection through the gateway costs, beside the bare link, TCP within the guest (which each byte passes too, for
 * the last part of its way), and a connection of the host's own.
 */
export async function networkRows(of: Subject, megabytes: number): Promise<Row[]> {
  await using rig = await openRig(of);
  await using machine = await rawMachine(of, rig.shape.memMib, await rig.disks(rig.scratch));
  const { guest } = machine;
  const root = { device: "/dev/vda", filesystem: "ext4", createWorkspace: true, identity: freshIdentity() };
  await guest.system.mountRoot(root);
  await setClock(guest, new AbortController().signal);
  await using server = await startServer();
  const gateway = new Gateway({
    policy: policyFromFlags({ mode: "egress", allowHostPorts: [server.port] }),
    record: new NetworkRecord(),
    lookUp: new SharedLookUp(),
  });
  guest.serveGateway({
    resolve: async ({ name, family }) => await gateway.resolve(name, family),
    connect: async (target, stream) => await gateway.connect(target, stream),
    onDefect: (error) => console.error(error),
  });
  await guest.network.configure({ egress: true });
  const rows = [
    ...(await streamRows(machine, server.port, megabytes * 1_000_000)),
    ...(await connectRows(guest, server.port)),
    ...(await manyRows(guest, server.port, gateway)),
    ...(await unreadRows(guest, server.port)),
  ];
  await gateway.close("the benchmark is over");
  return rows;
}

/** Speeds in MB/s, and what this process and QEMU used of the host's processors for 100 MB, in ms. */
interface Way {
  readonly rate: number[];
  readonly cpuMs: number[];
}

async function streamRows(machine: RawMachine, port: number, bytes: number): Promise<Row[]> {
  const { guest } = machine;
  const ways = Array.from({ length: 6 }, (): Way => ({ rate: [], cpuMs: [] }));
  const [linkIn, linkOut, ownIn, ownOut, download, upload] = ways as [Way, Way, Way, Way, Way, Way];
  const measure = async (way: Way, work: () => Promise<number>): Promise<void> => {
    const qemuMs = machine.cpuMs();
    const own = process.cpuUsage();
    way.rate.push(await work());
    const { user, system } = process.cpuUsage(own);
    way.cpuMs.push(((machine.cpuMs() - qemuMs + (user + system) / 1000) * 1e8) / bytes);
  };
  const program = async (name: "download" | "upload" | "ownDownload" | "ownUpload"): Promise<number> =>
    (await runProgram(guest, name, port, bytes))[0] ?? 0;
  let received = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    await measure(linkIn, async () => {
      const drained = guest.diagnostics.drain({ expectBytes: BigInt(bytes) });
      return rates(bytes, await timed(async () => await Promise.all([guest.floodProbe(bytes), drained])));
    });
    received += bytes;
    await measure(linkOut, async () => {
      const flood = async (): Promise<void> => {
        await guest.diagnostics.flood({ bytes: BigInt(bytes) });
        await guest.probeReceived(received);
      };
      return rates(bytes, await timed(flood));
    });
    await measure(ownIn, () => program("ownDownload"));
    await measure(download, () => program("download"));
    await measure(ownOut, () => program("ownUpload"));
    await measure(upload, () => program("upload"));
  }
  const rows = (name: string, way: Way, link: Way, own: Way, aim?: string): Row[] => {
    const rate = median(way.rate);
    const floor = (of: string, value: number) => ({ floor: { name: of, value } });
    const bare = { name, value: rate, unit: "MB/s" as const, ...floor("the bare link", median(link.rate)) };
    return [
      aim === undefined ? bare : { ...bare, aim },
      {
        ...{ name: `${name}, beside the guest's TCP`, value: rate, unit: "MB/s" },
        ...floor("a server in the guest", median(own.rate)),
      },
      {
        ...{ name: `${name}, the host's CPU for 100 MB`, value: median(way.cpuMs), unit: "ms" },
        ...floor("the link's and the guest's TCP", median(link.cpuMs) + median(own.cpuMs)),
      },
    ];
  };
  return [
    ...rows("network: download", download, linkIn, ownIn, "60 MB/s or 0.7x"),
    ...rows("network: upload", upload, linkOut, ownOut),
  ];
}

async function connectRows(guest: GuestConnection, port: number): Promise<Row[]> {
  const settled = async (name: "connects" | "ownConnects"): Promise<number> =>
    median((await runProgram(guest, name, port, 100)).slice(10));
  const own = await repeat(100, () => timed(() => connectOnce(port)));
  const within = await settled("ownConnects");
  const value = await settled("connects");
  const row = { name: "network: connect, p50", value, unit: "ms" } as const;
  return [
    { ...row, floor: { name: "the host's own", value: median(own) }, aim: "floor + 5 ms" },
    { ...row, floor: { name: "within the guest", value: within } },
  ];
}

async function connectOnce(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.destroy();
}

async function manyRows(guest: GuestConnection, port: number, gateway: Gateway): Promise<Row[]> {
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, gateway.openCount)), 20);
  const [took = 0] = await runProgram(guest, "many", port, 200);
  clearInterval(watch);
  return [
    { name: "network: 200 connections one after the other, all kept", value: took, unit: "ms" },
    { name: "network: open at once", value: most, unit: "" },
  ];
}

/** Servers that send without end, and programs that read nothing of it. */
async function unreadRows(guest: GuestConnection, port: number): Promise<Row[]> {
  const resident = (): number => memoryOf(process.pid).residentMib;
  const before = resident();
  let most = before;
  const watch = setInterval(() => (most = Math.max(most, resident())), 100);
  const [agent = 0, first = 0, second = 0] = await runProgram(guest, "unread", port, UNREAD);
  clearInterval(watch);
  const row = (name: string, value: number, floor: string, of: number): Row => ({
    ...{ name: `network: ${UNREAD} that nobody reads, ${name}`, value, unit: "MiB" },
    floor: { name: floor, value: of },
  });
  return [
    row("this process at most", most, "before", before),
    row("the agent", first, "before", agent),
    row("the agent, again", second, "the first time", first),
  ];
}
