import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ReadinessSchema, ServiceInfo } from "../protocol/gen/pyro/guest/v1/supervisor_pb.js";
import { ServiceEnd, ServiceState } from "../protocol/gen/pyro/guest/v1/supervisor_pb.js";
import { OutputStream } from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import { checkCommand, checkPath, LIMITS, type GuestBytes } from "../protocol/index.js";
import type { GuestConnection } from "./connection.js";
import { protocolError } from "./errors.js";
import { toProcessExit } from "./exit-status.js";

/** By what a service is known to be ready (supervisor.proto says what each of them means). */
export interface GuestReadiness {
  readonly type: "file" | "tcp" | "http" | "command";
  /** The path, "host:port" or ":port", the URL, or the line. */
  readonly value: string;
  readonly timeoutMs: number;
  readonly intervalMs: number;
}

export interface GuestServiceSpec {
  readonly name: string;
  /** Another one for each start: a repeated start with the same id is answered with the same service. */
  readonly startId: string;
  readonly argv: readonly GuestBytes[];
  readonly env: readonly GuestBytes[];
  readonly cwd: GuestBytes;
  /** Root when left out; else as `StartRequest.user` has it. */
  readonly user?: string;
  /** A shell line of the readiness reads no profile; default false. */
  readonly noLogin?: boolean;
  /** For people. */
  readonly command: string;
  readonly readiness: GuestReadiness | undefined;
}

/** A service as the agent says, brought into the range of what can be. */
export interface GuestService {
  readonly name: string;
  readonly startId: string;
  readonly command: string;
  readonly cwd: string;
  readonly readiness: GuestReadiness | undefined;
  readonly state: "starting" | "running" | "exited" | "stopped" | "failed";
  /** Undefined once its first process has ended. */
  readonly pid: number | undefined;
  readonly startedAtMs: number;
  readonly readyAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
  readonly end: "requested" | "exited" | "exited_before_ready" | "not_ready" | undefined;
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly outOfMemory: boolean;
  readonly failure: string;
  /** Its first process ended with 0 while others of it live. */
  readonly forked: boolean;
}

/** What is kept of one stream: the newest bytes. */
export interface GuestLog {
  readonly data: Uint8Array;
  readonly totalBytes: number;
}

interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

const STATES: Readonly<Partial<Record<ServiceState, GuestService["state"]>>> = {
  [ServiceState.STARTING]: "starting",
  [ServiceState.RUNNING]: "running",
  [ServiceState.EXITED]: "exited",
  [ServiceState.STOPPED]: "stopped",
  [ServiceState.FAILED]: "failed",
};

const ENDS: Readonly<Partial<Record<ServiceEnd, GuestService["end"]>>> = {
  [ServiceEnd.REQUESTED]: "requested",
  [ServiceEnd.EXITED]: "exited",
  [ServiceEnd.EXITED_BEFORE_READY]: "exited_before_ready",
  [ServiceEnd.NOT_READY]: "not_ready",
};

/** The agent waits at most a minute. */
const WAIT_MAX_MS = 60_000;
const TEXT_CHARACTERS = 2_000;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * Starts a service; it may not be ready yet.
 * @throws {PyroError} SERVICE_EXISTS, INVALID_ARGUMENT, COMMAND_NOT_FOUND and the like, GUEST_DISCONNECTED
 */
export async function startService(
  { supervisor }: GuestConnection,
  spec: GuestServiceSpec,
  options: CallOptions = {},
): Promise<GuestService> {
  const { argv, env } = checkCommand(spec.argv, spec.env);
  const { name, startId, command, readiness } = spec;
  const cwd = checkPath(spec.cwd, "the working directory");
  const how = { user: spec.user ?? "", noLogin: spec.noLogin ?? false };
  const request = { name, startId, argv, env, cwd, command, logBytes: LIMITS.serviceLogBytes, ...how };
  const check = readiness === undefined ? {} : { readiness: toReadiness(readiness) };
  const { service } = await supervisor.start({ ...request, ...check }, bounded(0, options));
  return one(service, name);
}

/** @throws {PyroError} SERVICE_NOT_FOUND, GUEST_DISCONNECTED; waits, at most so long, while it is starting */
export async function getService(
  { supervisor }: GuestConnection,
  name: string,
  { waitMs = 0, ...options }: CallOptions & { readonly waitMs?: number } = {},
): Promise<GuestService> {
  const wait = Math.min(waitMs, WAIT_MAX_MS);
  return one((await supervisor.get({ name, waitMs: wait }, bounded(wait, options))).service, name);
}

/** All of them; with `waitMs` when the generation is another one, or that time is over. */
export async function listServices(
  { supervisor }: GuestConnection,
  {
    afterGeneration = 0n,
    waitMs = 0,
    ...options
  }: CallOptions & { readonly afterGeneration?: bigint; readonly waitMs?: number } = {},
): Promise<{ readonly services: readonly GuestService[]; readonly generation: bigint }> {
  const wait = Math.min(waitMs, WAIT_MAX_MS);
  const { services, generation } = await supervisor.list(
    { afterGeneration, waitMs: wait },
    bounded(wait, options),
  );
  if (services.length > LIMITS.services) throw protocolError(`a list of ${services.length} services`);
  return { services: services.map(toService), generation };
}

/** Ends a service and its whole tree; one that has ended stays what it was. @throws {PyroError} SERVICE_NOT_FOUND */
export async function stopService(
  { supervisor }: GuestConnection,
  name: string,
  graceMs: number,
  options: CallOptions = {},
): Promise<GuestService> {
  // Whoever stops it waits for its end, which takes the grace, and the kernel's time.
  return one((await supervisor.stop({ name, graceMs }, bounded(graceMs, options))).service, name);
}

/** What is kept of both streams now. @throws {PyroError} SERVICE_NOT_FOUND, GUEST_PROTOCOL_ERROR */
export async function readServiceLogs(
  { supervisor }: GuestConnection,
  name: string,
  options: CallOptions = {},
): Promise<{ readonly stdout: GuestLog; readonly stderr: GuestLog }> {
  const logs = { stdout: new Log("stdout"), stderr: new Log("stderr") };
  for await (const { event } of supervisor.logs({ name }, bounded(0, options))) {
    if (event.case === "chunk") {
      const { stream, offset, data } = event.value;
      logs[stream === OutputStream.STDERR ? "stderr" : "stdout"].take(Number(offset), data);
    } else if (event.case === "totals") {
      const { stdoutBytes, stderrBytes } = event.value;
      return { stdout: logs.stdout.end(Number(stdoutBytes)), stderr: logs.stderr.end(Number(stderrBytes)) };
    }
  }
  throw protocolError(`the logs of ${name} ended without their totals`);
}

/** Puts other bytes, as many, in the place of what was read of both streams of one that has ended. @throws {PyroError} SERVICE_NOT_FOUND */
export async function rewriteServiceLogs(
  { supervisor }: GuestConnection,
  { name, startId }: { readonly name: string; readonly startId: string },
  logs: { readonly stdout: GuestLog; readonly stderr: GuestLog },
  options: CallOptions = {},
): Promise<void> {
  const chunk = (stream: OutputStream, { data, totalBytes }: GuestLog) => ({
    ...{ stream, data, offset: BigInt(totalBytes - data.length) },
  });
  const chunks = [chunk(OutputStream.STDOUT, logs.stdout), chunk(OutputStream.STDERR, logs.stderr)];
  await supervisor.rewriteLogs({ name, startId, chunks }, bounded(0, options));
}

/** Puts the pieces of one stream together, of an agent that may lie. */
class Log {
  readonly #pieces: Uint8Array[] = [];
  #at: number | undefined;
  #bytes = 0;

  constructor(private readonly stream: string) {}

  take(offset: number, data: Uint8Array): void {
    if (this.#at !== undefined && offset !== this.#at) throw protocolError(`${this.stream} has a gap`);
    this.#bytes += data.length;
    if (this.#bytes > 2 * LIMITS.serviceLogBytes) throw protocolError(`${this.stream} is longer than asked`);
    this.#pieces.push(data);
    this.#at = offset + data.length;
  }

  end(totalBytes: number): GuestLog {
    const at = this.#at ?? totalBytes;
    if (at !== totalBytes || !Number.isSafeInteger(totalBytes)) {
      throw protocolError(`${this.stream} ends at ${at} of ${totalBytes} bytes`);
    }
    return { data: Buffer.concat(this.#pieces), totalBytes };
  }
}

function bounded(waitMs: number, { signal }: CallOptions): { timeoutMs: number; signal?: AbortSignal } {
  const timeoutMs = waitMs + LIMITS.agentCallTimeoutMs;
  return signal === undefined ? { timeoutMs } : { timeoutMs, signal };
}

function toReadiness({
  type,
  value,
  timeoutMs,
  intervalMs,
}: GuestReadiness): MessageInitShape<typeof ReadinessSchema> {
  const bytes = Buffer.from(value);
  switch (type) {
    case "file":
      return { by: { case: "file", value: bytes }, timeoutMs, intervalMs };
    case "tcp":
      return { by: { case: "tcpAddress", value }, timeoutMs, intervalMs };
    case "http":
      return { by: { case: "httpUrl", value }, timeoutMs, intervalMs };
    case "command":
      return { by: { case: "command", value: bytes }, timeoutMs, intervalMs };
  }
}

const TYPES = { file: "file", tcpAddress: "tcp", httpUrl: "http", command: "command" } as const;

function fromReadiness(readiness: ServiceInfo["readiness"]): GuestReadiness | undefined {
  if (readiness?.by.case === undefined) return undefined;
  const { by, timeoutMs, intervalMs } = readiness;
  const value = typeof by.value === "string" ? by.value : Buffer.from(by.value).toString();
  return { type: TYPES[by.case], value: value.slice(0, TEXT_CHARACTERS), timeoutMs, intervalMs };
}

function one(service: ServiceInfo | undefined, name: string): GuestService {
  if (service?.name !== name) throw protocolError(`an answer about ${name} is about another service`);
  return toService(service);
}

function toService(info: ServiceInfo): GuestService {
  if (!NAME.test(info.name)) throw protocolError("a service has a name that it cannot have");
  const state = STATES[info.state];
  if (state === undefined) throw protocolError(`${info.name} has no state`);
  const exit = info.exit === undefined ? undefined : toProcessExit(info.exit, NONE, NONE);
  return {
    ...{ name: info.name, startId: info.startId.slice(0, 128), command: info.command.slice(0, TEXT_CHARACTERS) },
    ...{ cwd: Buffer.from(info.cwd.subarray(0, 4096)).toString(), readiness: fromReadiness(info.readiness) },
    state,
    pid: info.pid === 0 ? undefined : info.pid,
    startedAtMs: toMs(info.startedAtNs) ?? 0,
    readyAtMs: toMs(info.readyAtNs),
    endedAtMs: toMs(info.endedAtNs),
    end: ENDS[info.end],
    exitCode: exit?.exitCode,
    signal: exit?.signal,
    outOfMemory: exit?.outOfMemory ?? false,
    failure: info.failure.slice(0, TEXT_CHARACTERS),
    forked: info.forked,
  };
}

const NONE = { end: 0, dropped: 0 };
/** The last time that a Date can tell. */
const LAST_MS = 8_640_000_000_000_000;

function toMs(ns: bigint): number | undefined {
  return ns <= 0n ? undefined : Math.min(Number(ns / 1_000_000n), LAST_MS);
}
