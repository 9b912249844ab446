import { spawn } from "node:child_process";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { freshIdentity, setClock } from "../src/daemon/identity.js";
import { startProcess, type GuestConnection } from "../src/guest/index.js";
import { Gateway, NetworkRecord, policyFromFlags, SharedLookUp } from "../src/network/index.js";
import { median, repeat, timed } from "../src/operations/bench/samples.js";
import { rates } from "./link-floors.js";
import { rawMachine } from "./raw-machine.js";
import type { Row } from "./report.js";
import { openRig, type Subject } from "./rig.js";

/** What a connection through the gateway costs, beside the bare link and beside a connection of the host's own. */
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
    ...(await streamRows(guest, server.port, megabytes)),
    ...(await connectRows(guest, server.port)),
    ...(await manyRows(guest, server.port, gateway)),
  ];
  await gateway.close("the benchmark is over");
  return rows;
}

/** Says "d" and it sends without end, anything else and it takes; in a process of its own, as servers are. */
const SERVER = `
const block = Buffer.alloc(1 << 20);
require("net").createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => {});
  socket.once("data", (first) => {
    if (first[0] !== 100) return void socket.resume();
    const more = () => { while (socket.write(block)); };
    socket.on("drain", more);
    more();
  });
  socket.on("end", () => socket.end("x"));
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });
`;

async function startServer(): Promise<{ readonly port: number } & AsyncDisposable> {
  const child = spawn(process.execPath, ["-e", SERVER], { stdio: ["ignore", "pipe", "inherit"] });
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const [line] = await new Promise<string[]>((resolve) =>
    createInterface(child.stdout).once("line", (text: string) => resolve([text])),
  );
  return {
    port: Number(line),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await gone;
    },
  };
}

const PROLOGUE = `use strict; use Socket; use Time::HiRes qw(time sleep); my ($port, $n) = @ARGV;
my $to = sockaddr_in($port, inet_aton("10.0.2.2"));
sub dial { socket(my $s, PF_INET, SOCK_STREAM, 0) or die $!; connect($s, $to) or die "connect: $!"; return $s }
`;
const DOWNLOAD = `${PROLOGUE} my $s = dial(); syswrite($s, "d\\n"); my ($got, $b) = (0, ""); my $t = time;
while ($got < $n) { my $r = sysread($s, $b, 262144) or die "read: $!"; $got += $r } printf("%f\\n", $got / (time - $t) / 1e6);`;
const UPLOAD = `${PROLOGUE} my $s = dial(); my $b = "u" x 262144; my $sent = 0; my $t = time;
while ($sent < $n) { $sent += syswrite($s, $b) or die "write: $!" } shutdown($s, 1); sysread($s, $b, 1); printf("%f\\n", $sent / (time - $t) / 1e6);`;
const CONNECT = `${PROLOGUE} for (1 .. $n) { my $t = time; my $s = dial(); printf("%f\\n", 1000 * (time - $t)); close($s); sleep(0.002) }`;
const MANY = `${PROLOGUE} my $t = time; my @all = map { dial() } 1 .. $n; syswrite($_, "u\\n") for @all; printf("%f\\n", 1000 * (time - $t)); sleep(1);`;

/** What a program of the guest prints, a number a line. */
async function perl(guest: GuestConnection, script: string, port: number, count: number): Promise<number[]> {
  const argv = ["perl", "-e", script, String(port), String(count)];
  const processId = `bench-${String(performance.now())}`;
  const command = await startProcess(guest, { processId, argv, env: ["PATH=/usr/bin:/bin"], cwd: "/" });
  let out = "";
  for await (const piece of command.output) out += Buffer.from(piece.data).toString();
  const { exitCode } = await command.exit;
  if (exitCode !== 0) throw new Error(`perl ended with ${String(exitCode)}: ${out}`);
  return out.trim().split("\n").map(Number);
}

async function streamRows(guest: GuestConnection, port: number, megabytes: number): Promise<Row[]> {
  const bytes = megabytes * 1_000_000;
  const into: number[] = [];
  const out: number[] = [];
  const floorIn: number[] = [];
  const floorOut: number[] = [];
  let received = 0;
  for (let round = 0; round < 3; round += 1) {
    const drained = guest.diagnostics.drain({ expectBytes: BigInt(bytes) });
    floorIn.push(
      rates(
        bytes,
        await timed(async () => {
          await guest.floodProbe(bytes);
          await drained;
        }),
      ),
    );
    received += bytes;
    floorOut.push(
      rates(
        bytes,
        await timed(async () => {
          await guest.diagnostics.flood({ bytes: BigInt(bytes) });
          await guest.probeReceived(received);
        }),
      ),
    );
    into.push(...(await perl(guest, DOWNLOAD, port, bytes)));
    out.push(...(await perl(guest, UPLOAD, port, bytes)));
  }
  const floor = (values: readonly number[]) => ({ name: "the bare link", value: median(values) });
  return [
    {
      name: "network: download",
      value: median(into),
      unit: "MB/s",
      floor: floor(floorIn),
      aim: "60 MB/s or 0.7x",
    },
    { name: "network: upload", value: median(out), unit: "MB/s", floor: floor(floorOut) },
  ];
}

async function connectRows(guest: GuestConnection, port: number): Promise<Row[]> {
  const own = await repeat(100, () => timed(() => connectOnce(port)));
  const samples = (await perl(guest, CONNECT, port, 100)).slice(10);
  const floor = { name: "the host's own", value: median(own) };
  return [{ name: "network: connect, p50", value: median(samples), unit: "ms", floor, aim: "floor + 5 ms" }];
}

async function connectOnce(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.destroy();
}

async function manyRows(guest: GuestConnection, port: number, gateway: Gateway): Promise<Row[]> {
  let most = 0;
  const watch = setInterval(() => (most = Math.max(most, gateway.openCount)), 20);
  const [took = 0] = await perl(guest, MANY, port, 200);
  clearInterval(watch);
  return [
    { name: "network: 200 connections one after the other, all kept", value: took, unit: "ms" },
    { name: "network: open at once", value: most, unit: "" },
  ];
}
