/** By what a service is known to be ready. */
export interface Readiness {
  readonly type: "file" | "tcp" | "http" | "command";
  /** The path, "host:port" or ":port", the URL, or the line for /bin/sh -lc. */
  readonly value: string;
  readonly timeoutMs: number;
  readonly intervalMs: number;
}

export type ServiceState = "starting" | "running" | "exited" | "stopped" | "failed";

/** A service, ready for the guest. */
export interface ServiceSpec {
  readonly name: string;
  /** A repeated start with the same id is answered with the same service. */
  readonly startId: string;
  readonly argv: readonly Uint8Array[];
  readonly env: readonly Uint8Array[];
  readonly cwd: string;
  /** Whom it runs as, as a command's. */
  readonly user?: string;
  /** The line of its readiness is run by a shell that reads no profile. */
  readonly noLogin: boolean;
  /** For people. */
  readonly command: string;
  readonly readiness: Readiness | undefined;
}

/** A service as its machine says. */
export interface MachineService {
  readonly name: string;
  readonly startId: string;
  readonly command: string;
  readonly cwd: string;
  readonly readiness: Readiness | undefined;
  readonly state: ServiceState;
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

/** What a machine keeps of one stream: the newest bytes. */
export interface MachineLog {
  readonly data: Uint8Array;
  readonly totalBytes: number;
}

interface Call {
  readonly signal?: AbortSignal | undefined;
}

/** The supervisor in a running machine. Its calls survive the loss of the line: each may be made twice. */
export interface MachineServices {
  /** @throws {PyroError} SERVICE_EXISTS, COMMAND_NOT_FOUND and the like */
  start(spec: ServiceSpec, options?: Call): Promise<MachineService>;
  /** Waits, at most so long, while it is starting. @throws {PyroError} SERVICE_NOT_FOUND */
  get(name: string, options: Call & { readonly waitMs: number }): Promise<MachineService>;
  /** When the generation is another one, or the time is over. */
  list(
    options: Call & { readonly afterGeneration: bigint; readonly waitMs: number },
  ): Promise<{ readonly services: readonly MachineService[]; readonly generation: bigint }>;
  /** @throws {PyroError} SERVICE_NOT_FOUND */
  logs(name: string, options?: Call): Promise<{ readonly stdout: MachineLog; readonly stderr: MachineLog }>;
  /** Puts other bytes, as many, in the place of what `logs` gave of one that has ended. @throws {PyroError} SERVICE_NOT_FOUND */
  rewriteLogs(
    service: { readonly name: string; readonly startId: string },
    logs: { readonly stdout: MachineLog; readonly stderr: MachineLog },
    options?: Call,
  ): Promise<void>;
  /** Ends the whole tree. @throws {PyroError} SERVICE_NOT_FOUND */
  stop(name: string, graceMs: number, options?: Call): Promise<MachineService>;
}
