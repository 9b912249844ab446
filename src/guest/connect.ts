import { createClient, type ConnectRouter, type Transport } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport } from "@connectrpc/connect-node";
import type { Socket } from "node:net";
import { connectUnix, sleep } from "../kit/index.js";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  BuilderService,
  DiagnosticsService,
  EventService,
  FileService,
  ProcessService,
  SystemService,
  type HelloResponse,
} from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import type { GuestConnection, GuestEvents } from "./connection.js";
import { disconnected, protocolError, translateCallError } from "./errors.js";
import { AUTHORITY, openSession, serveSession } from "./http2-session.js";
import { HostLink } from "./link.js";
import { translatingErrors } from "./transport.js";
import { unaryCalls, type UnaryOptions } from "./unary.js";

/** A message of a small call; nothing on the control or event channel comes near. */
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
  const link = new HostLink(await connectPort(socketPath, giveUp));
  const end = (): void => link.end();
  giveUp.addEventListener("abort", end, { once: true });
  if (giveUp.aborted) end();
  let connection: GuestConnection | undefined;
  try {
    if (await link.open(answerMs)) connection = await greet(link, options);
    return connection;
  } catch (error) {
    giveUp.throwIfAborted();
    throw link.reason ?? error;
  } finally {
    giveUp.removeEventListener("abort", end);
    if (connection === undefined) await link[Symbol.asyncDispose]();
  }
}

const BUSY_RETRY_MS = 20;

async function connectPort(socketPath: string, giveUp: AbortSignal): Promise<Socket> {
  for (;;) {
    try {
      return await connectUnix(socketPath);
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

/** The services of an open link, after the agent's hello. */
async function greet(link: HostLink, options: ConnectOptions): Promise<GuestConnection> {
  const failed = (error: Error): void => link.end(protocolError(error.message, error));
  const translate = (error: unknown): PyroError => translateCallError(error, link.reason);
  const transport = (channel: typeof link.control, options: UnaryOptions): Transport => {
    const { manager, session } = openSession(channel, failed);
    const streams = createConnectTransport({
      baseUrl: AUTHORITY,
      httpVersion: "2",
      useBinaryFormat: true,
      acceptCompression: [],
      readMaxBytes: options.readMaxBytes,
      sessionManager: manager,
    });
    return translatingErrors(unaryCalls(session, options), streams, translate);
  };
  const control = transport(link.control, {
 readMaxBytes: SMALL_MESSAGE_BYTES,
 defaultTimeoutMs: LIMITS.agentCallTimeoutMs,
 });
  const bulk = transport(link.bulk, { readMaxBytes: BULK_MESSAGE_BYTES });
  serveSession(link.event, eventHandler(options.events ?? {}), failed);
  const system = createClient(SystemService, control);
  const hello = await system.hello({ hostVersion: options.hostVersion ?? "" });
  checkHello(hello, link.epoch);
  return {
    hello,
    epoch: link.epoch,
    system,
    control: createClient(ProcessService, control),
    process: createClient(ProcessService, bulk),
    file: createClient(FileService, bulk),
    builder: createClient(BuilderService, bulk),
    diagnostics: createClient(DiagnosticsService, bulk),
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

function eventHandler(events: GuestEvents): ReturnType<typeof connectNodeAdapter> {
  return connectNodeAdapter({
    acceptCompression: [],
    readMaxBytes: SMALL_MESSAGE_BYTES,
    routes: (router: ConnectRouter) =>
      router.service(EventService, {
        report: ({ event }) => {
          switch (event.case) {
            case "agentReady":
              events.agentReady?.(event.value);
              break;
            case "processExited":
              events.processExited?.(event.value);
              break;
            case "outOfMemory":
              events.outOfMemory?.(event.value);
              break;
            case undefined:
              break;
          }
          return {};
        },
      }),
  });
}
