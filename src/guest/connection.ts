import type { Client } from "@connectrpc/connect";
import type {
  AgentReady,
  BuilderService,
  DiagnosticsService,
  FileService,
  HelloResponse,
  OutOfMemory,
  ProcessExited,
  ProcessService,
  SystemService,
} from "../protocol/gen/pyro/guest/v1/guest_pb.js";
import type { SupervisorService } from "../protocol/gen/pyro/guest/v1/supervisor_pb.js";
import type { ShellService } from "../protocol/gen/pyro/guest/v1/shell_pb.js";
import type { NetworkService } from "../protocol/gen/pyro/guest/v1/network_pb.js";
import type { DialledStream } from "./dial.js";
import type { GatewayHandlers } from "./gateway.js";

/** What the agent reports by itself, on the event channel. */
export interface GuestEvents {
  readonly agentReady?: (event: AgentReady) => void;
  readonly processExited?: (event: ProcessExited) => void;
  readonly outOfMemory?: (event: OutOfMemory) => void;
}

/** Bytes and frames that the link skipped or dropped: none on a clean connection. */
export interface LinkCounters {
  readonly skippedBytes: number;
  readonly droppedFrames: number;
}

/**
 * One epoch of the link to one agent, with the typed services on it. When the port or the agent goes away, pending
 * calls reject with GUEST_DISCONNECTED and `closed` resolves; connect anew to go on.
 */
export interface GuestConnection extends AsyncDisposable {
  readonly hello: HelloResponse;
  readonly epoch: number;
  /** Small calls on the control channel. */
  readonly system: Client<typeof SystemService>;
  readonly control: Client<typeof ProcessService>;
  readonly shell: Client<typeof ShellService>;
  /** Streams on the bulk channel. */
  readonly shellOutput: Client<typeof ShellService>;
  readonly process: Client<typeof ProcessService>;
  readonly file: Client<typeof FileService>;
  /** On the bulk channel too: its calls may wait for a service. */
  readonly supervisor: Client<typeof SupervisorService>;
  readonly builder: Client<typeof BuilderService>;
  readonly diagnostics: Client<typeof DiagnosticsService>;
  /** On the control channel: Configure. */
  readonly network: Pick<Client<typeof NetworkService>, "configure">;
  /**
   * Connects to a port that a program of the guest listens on.
   * @throws {PyroError} GUEST_PORT_REFUSED, DEADLINE_EXCEEDED, GUEST_DISCONNECTED, or the signal's reason
   */
  dial(port: number, signal?: AbortSignal): Promise<DialledStream>;
  /** Sets who answers what programs of the guest want of the network, from now on; before, all is refused. */
  serveGateway(handlers: GatewayHandlers): void;
  /** Resolves, with the reason where there is one, when this epoch is over. Never rejects. */
  readonly closed: Promise<Error | undefined>;
  readonly counters: LinkCounters;
  /** For benchmarks: sends bytes on the probe channel, with the link's own back-pressure. */
  floodProbe(bytes: number): Promise<void>;
  /** For benchmarks: resolves when that many probe bytes arrived since the connection began. */
  probeReceived(bytes: number): Promise<void>;
}
