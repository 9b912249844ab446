import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { startProcess, type GuestConnection } from "../src/guest/index.js";

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

export async function startServer(): Promise<{ readonly port: number } & AsyncDisposable> {
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
/** The same server in the guest, in a process of its own: what its kernel's TCP does with nothing of ours in between. */
const OWN_SERVER = `${PROLOGUE} socket(my $l, PF_INET, SOCK_STREAM, 0); bind($l, sockaddr_in(0, INADDR_LOOPBACK)) or die $!; listen($l, 50);
$to = getsockname($l); my $pid = fork();
if (!$pid) { my $b = "x" x 65536; while (accept(my $c, $l)) { sysread($c, my $w, 1) or next;
  if ($w eq "d") { $SIG{PIPE} = "IGNORE"; while (syswrite($c, $b)) {} } else { while (sysread($c, $b, 262144)) {} syswrite($c, "x") } } }
END { kill(9, $pid) if $pid }
`;
const download = (prologue: string): string =>
  `${prologue} my $s = dial(); syswrite($s, "d\\n"); my ($got, $b) = (0, ""); my $t = time;
while ($got < $n) { my $r = sysread($s, $b, 262144) or die "read: $!"; $got += $r } printf("%f\\n", $got / (time - $t) / 1e6);`;
const upload = (prologue: string): string =>
  `${prologue} my $s = dial(); my $b = "u" x 262144; my $sent = 0; my $t = time;
while ($sent < $n) { $sent += syswrite($s, $b) or die "write: $!" } shutdown($s, 1); sysread($s, $b, 1); printf("%f\\n", $sent / (time - $t) / 1e6);`;
const connects = (prologue: string): string =>
  `${prologue} for (1 .. $n) { my $t = time; my $s = dial(); printf("%f\\n", 1000 * (time - $t)); close($s); sleep(0.002) }`;

/** Programs of the guest, for a port and a count; what they print is a number a line. */
export const PROGRAMS = {
  /** A count of bytes; MB/s. */
  download: download(PROLOGUE),
  upload: upload(PROLOGUE),
  ownDownload: download(OWN_SERVER),
  ownUpload: upload(OWN_SERVER),
  /** A count of connects, one after the other; ms each. */
  connects: connects(PROLOGUE),
  ownConnects: connects(OWN_SERVER),
  /** A count of connections that are kept; ms for all. */
  many: `${PROLOGUE} my $t = time; my @all = map { dial() } 1 .. $n; syswrite($_, "u\\n") for @all; printf("%f\\n", 1000 * (time - $t)); sleep(1);`,
  /** A count of downloads that nobody reads, twice; the agent's memory before, during the first and the second, in MiB. */
  unread: `${PROLOGUE} sub agent { open(my $f, "<", "/proc/1/status"); my ($kb) = map { /^VmRSS:\\s+(\\d+)/ } <$f>; printf("%f\\n", $kb / 1024) }
agent(); for (1 .. 2) { my @all = map { dial() } 1 .. $n; syswrite($_, "d\\n") for @all; sleep(4); agent(); close($_) for @all; sleep(1) }`,
} as const;

/** What a program prints. */
export async function runProgram(
  guest: GuestConnection,
  name: keyof typeof PROGRAMS,
  port: number,
  count: number,
): Promise<number[]> {
  const argv = ["perl", "-e", PROGRAMS[name], String(port), String(count)];
  const processId = `bench-${String(performance.now())}`;
  const command = await startProcess(guest, { processId, argv, env: ["PATH=/usr/bin:/bin"], cwd: "/" });
  let out = "";
  for await (const piece of command.output) out += Buffer.from(piece.data).toString();
  const { exitCode } = await command.exit;
  if (exitCode !== 0) throw new Error(`perl (${name}) ended with ${String(exitCode)}: ${out}`);
  return out.trim().split("\n").map(Number);
}
