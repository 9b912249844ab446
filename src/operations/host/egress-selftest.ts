import { createServer, type AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { PyroError } from "../../protocol/index.js";
import type { DoctorCheck, NetworkEntry, Pyro } from "../../sdk/index.js";

/** What the machine tries to connect to. */
interface Place {
  readonly what: string;
  readonly host: string;
  readonly port: number;
  /** Never leaves the machine, so that no record tells of it. */
  readonly isItsOwn?: boolean;
}

/** Of this host: more of its interfaces' addresses are not tried. */
const HOST_ADDRESSES = 8;
/** This host's loopback, as the machine sees it. */
const HOST = { name: "host.pyro.internal", address: "10.0.2.2" } as const;
/** What answers with a cloud's credentials, a network of somebody's, and a link's. Any port would do. */
const ELSEWHERE: readonly Place[] = [
  ...["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00::1"].map((host) => place("private", host)),
  ...["169.254.0.1"].map((host) => place("link-local", host)),
  ...["169.254.169.254", "fd00:ec2::254", "metadata.google.internal"].map((host) => place("metadata", host)),
];

/** Says of each place, `HOST,PORT`, how a connection to it ended. */
const PROGRAM =
  'for place do if (exec 3<>"/dev/tcp/${place%,*}/${place##*,}") 2>/dev/null; then echo reached; else echo kept; fi; done';

/**
 * Whether a machine with egress is kept from this host and its networks: a throwaway one tries, two servers on the
 * loopback count who comes, and the record is compared. One of the servers is opened to it, so that the test could fail.
 */
export async function egressSelftest(
  pyro: Pyro,
  environment: string,
  signal: AbortSignal | undefined,
  onCheck: (check: DoctorCheck) => void,
): Promise<readonly DoctorCheck[]> {
  const checks: DoctorCheck[] = [];
  const say = (name: string, fault: string | undefined, message: string): void => {
    const hint = fault === undefined ? "" : "give no machine a network, and report this as SECURITY.md says";
    const check = {
      name: `egress, ${name}`,
      ok: fault === undefined,
      message: fault ?? message,
      hint,
      fix: [],
    };
    checks.push(check);
    onCheck(check);
  };
  try {
    await using open = await listen();
    await using closed = await listen();
    const places = placesOf(open.port, closed.port);
    const { outcomes, entries } = await tryAll(pyro, environment, places, open.port, signal);
    const isOpen = outcomes[0] === "reached" && open.count === 1;
    say(
      "the way out",
      isOpen ? undefined : "the one open port was not reached",
      `${HOST.name} port ${open.port}, the one that is open, is reached`,
    );
    for (const [index, { what, host, port, isItsOwn = false }] of places.entries()) {
      if (index === 0) continue;
      const isTold = isItsOwn || entries.some((entry) => tells(entry, host));
      const fault = faultOf(outcomes[index], isTold);
      const subject = `${host} port ${port}`;
      const fine = isItsOwn ? "is the machine's own" : "is refused, and recorded";
      say(what, fault === undefined ? undefined : `${subject} ${fault}`, `${subject} ${fine}`);
    }
    const came = closed.count + open.count - (isOpen ? 1 : 0);
    say("this host's servers", came === 0 ? undefined : `${came} connections came`, "nobody else came");
  } catch (error) {
    if (signal?.aborted === true) throw error;
    const { code, message, hint } = PyroError.from(error);
    const check = { name: "egress", ok: false, message: `not tested: ${code}: ${message}`, hint, fix: [] };
    checks.push(check);
    onCheck(check);
  }
  return checks;
}

function faultOf(outcome: string | undefined, isTold: boolean): string | undefined {
  if (outcome === "reached") return "was reached";
  if (outcome !== "kept") return "was not tried";
  return isTold ? undefined : "was refused, but the record does not say so";
}

/** The first is the only one that is open. */
function placesOf(open: number, closed: number): readonly Place[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .filter(({ internal, scopeid = 0 }) => !internal && scopeid === 0)
    .slice(0, HOST_ADDRESSES);
  return [
    place("the way out", HOST.name, open),
    place("the host's loopback", HOST.address, closed),
    ...["127.0.0.1", "::1"].map((host) => ({ ...place("loopback", host, closed), isItsOwn: true })),
    ...addresses.map(({ address }) => place("the host itself", address, closed)),
    ...ELSEWHERE,
  ];
}

function place(what: string, host: string, port = 80): Place {
  return { what, host, port };
}

function tells({ decision, name, address }: NetworkEntry, host: string): boolean {
  return decision === "refused" && (name === host || address === host);
}

/** In a machine that is gone afterwards. */
async function tryAll(
  pyro: Pyro,
  environment: string,
  places: readonly Place[],
  openPort: number,
  signal: AbortSignal | undefined,
): Promise<{ readonly outcomes: readonly string[]; readonly entries: readonly NetworkEntry[] }> {
  const network = { policy: "egress", allowHostPorts: [openPort] } as const;
  const { workspaceId } = await pyro.createWorkspace({ environment, network }, { signal });
  try {
    const argv = ["bash", "-c", PROGRAM, "bash", ...places.map(({ host, port }) => `${host},${port}`)];
    const { output } = await pyro.execWorkspace({ workspaceId, argv, timeoutSeconds: 120 }, { signal });
    const { entries } = await pyro.getWorkspaceNetwork({ workspaceId, limit: 1_000 }, { signal });
    return {
      outcomes: Buffer.from(output?.stdout.data ?? [])
        .toString()
        .trim()
        .split("\n"),
      entries,
    };
  } finally {
    await pyro.deleteWorkspace(workspaceId);
  }
}

/** A server on the loopback that counts who comes. */
async function listen(): Promise<AsyncDisposable & { readonly port: number; readonly count: number }> {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.on("error", () => undefined).destroy();
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    get count() {
      return count;
    },
    [Symbol.asyncDispose]: async () => {
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
