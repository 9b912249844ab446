import { createClient } from "@connectrpc/connect";
import type { Socket } from "node:net";
import { connectUnix, sleep } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  BuilderService,
  DiagnosticsService,
  FileService,
  ProcessService,
  SystemService,
  type HelloResponse,
} from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { SupervisorService } from "../protocol/gen/pyro/guest/v1/supervisor_pb.js";
import { ShellService } from "../protocol/gen/pyro/guest/v1/shell_pb.js";
import { NetworkService } from "../protocol/gen/pyro/guest/v1/network_pb.js";
import type { GuestConnection, GuestEvents } from "./connection.js";
import { Caller } from "./caller.js";
import { disconnected, protocolError } from "./errors.js";
import { serveEvents } from "./events.js";
import { HostLink } from "./link.js";
import { dialGuest } from "./dial.js";
import { GatewayCalls } from "./gateway.js";
import { PortReading } from "./port-reading.js";
import { callTransport } from "./transport.js";

/** A message of a small call; nothing on the control channel comes near. */
const SMALL_MESSAGE_BYTES = 1024 * 1024;
/** A message of a stream: a chunk and what is around it; also of an agent with other chunks. */
const BULK_MESSAGE_BYTES = 4 * 1024 * 1024;

export interface ConnectOptions {
  readonly signal?: AbortSignal;
  /** From the call to the agent's hello; LIMITS.bootTimeoutMs when left out. */
  readonly timeoutMs?: number;
  readonly events?: GuestEvents;
  /** Version of the daemon, told to the agent. */
  readonly hostVersion?: string;
}

/** How long one connection waits for the answer before another is made: doubles from the first to the second. */
const ANSWER_TIMEOUT_MS = { first: 1_000, most: 8_000 };

/**
 * Connects to the agent behind the unix socket of its port, and greets it. The agent may still be booting: waits for
 * it until the deadline.
 * @throws {PyroError} VM_UNRESPONSIVE when no agent answered in time, GUEST_DISCONNECTED when the port went away,
 *   GUEST_PROTOCOL_ERROR when something answered that is no agent; or the signal's reason. Nothing is left then.
 */
export async function connectGuest(socketPath: string, options: ConnectOptions = {}): Promise<GuestConnection> {
  const timeoutMs = options.timeoutMs ?? LIMITS.bootTimeoutMs;
  options.signal?.throwIfAborted();
  const giveUp = new AbortController();
  const abort = (): void => giveUp.abort(options.signal?.reason);
  const timer = setTimeout(() => giveUp.abort(unanswered(timeoutMs)), timeoutMs);
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    for (let answerMs = ANSWER_TIMEOUT_MS.first; ; answerMs = Math.min(2 * answerMs, ANSWER_TIMEOUT_MS.most)) {
      const connection = await tryConnect(socketPath, answerMs, options, giveUp.signal);
      if (connection !== undefined) return connection;
    }
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", abort);
  }
}

/**
 * One connection, or undefined when the agent did not answer on it in time. QEMU (7.2) may leave a port mute for good
 * when its host left while it wrote: it notes a port as throttled after it has cleared that note for the lost
 * connection. Only another disconnect clears it (1 in 100 reconnects in mid-transfer, measured).
 */
async function tryConnect(
  socketPath: string,
  answerMs: number,
  options: ConnectOptions,
  giveUp: AbortSignal,
): Promise<GuestConnection | undefined> {
  const reading = new PortReading();
  const link = new HostLink(await connectPort(socketPath, reading, giveUp), reading);
  const end = (): void => link.end();
  giveUp.addEventListener("abort", end, { once: true });
  if (giveUp.aborted) end();
  let connection: GuestConnection | undefined;
  try {
    // Who takes the packets is known before the first can come, right behind the agent's answer.
    const services = servicesOf(link, options.events ?? {});
    const opened = link.open(answerMs);
    // Right behind the HELLO, where the agent finds it: of a restored machine each exchange is slow.
    const hello = services.system.hello({ hostVersion: options.hostVersion ?? "" }, { timeoutMs: 2 * answerMs }).catch(unlessLate);
    hello.catch(() => undefined);
    const said = (await opened) ? await hello : undefined;
    if (said !== undefined) connection = toConnection(link, services, said);
    return connection;
  } catch (error) {
    giveUp.throwIfAborted();
    throw link.reason ?? error;
  } finally {
    giveUp.removeEventListener("abort", end);
    if (connection === undefined) await link[Symbol.asyncDispose]();
  }
}

/** A port that lost what stood behind the HELLO is as mute as one that lost all. */
function unlessLate(error: unknown): undefined {
  if (!(error instanceof PyroError) || error.code !== "DEADLINE_EXCEEDED") throw error;
}

const BUSY_RETRY_MS = 20;

async function connectPort(socketPath: string, { onread }: PortReading, giveUp: AbortSignal): Promise<Socket> {
  for (;;) {
    try {
      return await connectUnix(socketPath, onread);
    } catch (error) {
      // QEMU has not noticed yet that the last host left, and its queue of one is taken.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw disconnected(error);
    }
    await sleep(BUSY_RETRY_MS, giveUp);
  }
}

function unanswered(timeoutMs: number): PyroError {
  return new PyroError("VM_UNRESPONSIVE", `no guest agent answered within ${timeoutMs} ms`, {
    hint: "the virtual machine is slow, hangs, or has no agent: its console says more",
    retryable: true,
  });
}

type Services = Pick<
  GuestConnection,
  | "system"
  | "control"
  | "process"
  | "shell"
  | "shellOutput"
  | "file"
  | "supervisor"
  | "builder"
  | "diagnostics"
  | "network"
  | "dial"
  | "serveGateway"
>;

function servicesOf(link: HostLink, events: GuestEvents): Services {
  const control = callTransport(new Caller(link, "control", SMALL_MESSAGE_BYTES), LIMITS.agentCallTimeoutMs);
  const bulkCaller = new Caller(link, "bulk", BULK_MESSAGE_BYTES);
  const bulk = callTransport(bulkCaller, 0);
  serveEvents(link, events);
  const gateway = new GatewayCalls(link);
  return {
    system: createClient(SystemService, control),
    control: createClient(ProcessService, control),
    process: createClient(ProcessService, bulk),
    shell: createClient(ShellService, control),
    shellOutput: createClient(ShellService, bulk),
    file: createClient(FileService, bulk),
    supervisor: createClient(SupervisorService, bulk),
    builder: createClient(BuilderService, bulk),
    diagnostics: createClient(DiagnosticsService, bulk),
    network: createClient(NetworkService, control),
    dial: (port, signal) => dialGuest(bulkCaller, port, signal),
    serveGateway: (handlers) => {
      gateway.handlers = handlers;
    },
  };
}

/** The connection of an open link, after the agent's hello. */
function toConnection(link: HostLink, services: Services, hello: HelloResponse): GuestConnection {
  checkHello(hello, link.epoch);
  return {
    ...services,
    hello,
    epoch: link.epoch,
    closed: link.closed,
    counters: link.counters,
    floodProbe: (bytes) => link.floodProbe(bytes),
    probeReceived: (bytes) => link.probeReceived(bytes),
    [Symbol.asyncDispose]: () => link[Symbol.asyncDispose](),
  };
}

function checkHello(hello: HelloResponse, epoch: number): void {
  if (hello.epoch !== epoch) throw protocolError(`its hello names epoch ${hello.epoch}, the link has ${epoch}`);
  if (hello.agentVersion === "") throw protocolError("its hello has no version");
}
