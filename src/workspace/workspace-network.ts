/**
 * What the workspace room knows of networks: interfaces that the daemon fills in. Rules are texts here; what they mean is
 * the network room's to say.
 */

/** A policy in canonical texts, as it is kept in a workspace's record. */
export interface NetworkPolicyText {
  readonly mode: "off" | "egress" | "egress+published-ports";
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly allowCidrs: readonly string[];
  readonly allowHostPorts: readonly number[];
}

/** A name, a connection, or one to a published port, and what became of it. */
export interface NetworkEvent {
  /** Counts from 1, over the workspace's whole life. */
  readonly sequence: number;
  readonly kind: "connection" | "name" | "published";
  readonly atMs: number;
  readonly name?: string;
  readonly address?: string;
  readonly port?: number;
  /** `open`: it goes on. `failed`: allowed, and it did not come about. */
  readonly decision: "open" | "allowed" | "refused" | "failed";
  readonly reason?: string;
  readonly hint?: string;
  /** The command, service or shell, by the machine's own word. */
  readonly openedBy?: string;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly durationMs?: number;
  readonly end?: string;
  /** The same was refused so often. */
  readonly times?: number;
}

export interface NetworkReport {
  readonly policy: NetworkPolicyText;
  readonly openCount: number;
  /** Of the workspace's whole life. */
  readonly totals: {
    readonly connections: number;
    readonly published: number;
    readonly refused: number;
    readonly failed: number;
    readonly bytesUp: number;
    readonly bytesDown: number;
  };
  /** The newest, the oldest of them first. */
  readonly events: readonly NetworkEvent[];
  /** Grows with every event that is made or changed, over daemons too. */
  readonly generation: number;
}

/** Events that were made or changed since, the oldest of them first, and up to which generation. */
export type ChangedEvents = Pick<NetworkReport, "events" | "generation">;

/** One line for a model: why the newest refusal, and how the user could allow it. */
export interface NetworkRefusal {
  readonly atMs: number;
  readonly reason: string;
  readonly hint: string;
}

/** A port of 127.0.0.1 that leads to one of the machine's. */
export interface PortPair {
  /** To be published, 0: the system chooses. */
  readonly hostPort: number;
  readonly guestPort: number;
}

/** Whose a published port is: one start of a service. */
export interface PortOwner {
  readonly workspaceId: string;
  readonly startId: string;
  readonly service: string;
  /** Until then nobody gets in. */
  readonly isReady: () => boolean;
}

/** A port that is listened on. */
export interface ListeningPort extends PortPair {
  readonly startId: string;
}

/** A machine's side of the network: made by who makes machines, given to the workspace's network as it is. */
export interface MachineNetwork {
  /** Says who answers its programs from now on, on every new connection to its agent too, and whether they reach anybody. */
  serve(doors: unknown, egress: boolean): Promise<void>;
  /** Connects to a port in it. */
  dial(port: number, signal: AbortSignal): Promise<unknown>;
}

/** The network of one workspace, whichever machine it has. Disposing of it resets and closes all. */
export interface WorkspaceNetwork extends AsyncDisposable {
  readonly policy: NetworkPolicyText;
  readonly report: NetworkReport;
  readonly lastRefusal: NetworkRefusal | undefined;
  /** Events that were made or changed after a generation; waits for one until the signal fires. Never rejects. */
  eventsAfter(generation: number, signal: AbortSignal): Promise<ChangedEvents>;
  readonly ports: readonly ListeningPort[];
  /**
   * The same policy in canonical texts; nothing changes.
   * @throws {PyroError} INVALID_NETWORK_POLICY with all that is wrong
   */
  checked(policy: NetworkPolicyText): NetworkPolicyText;
  /**
   * From now on: connections that it refuses are reset, and published ports are closed where it has none. An invalid one
   * changes nothing.
   * @throws {PyroError} INVALID_NETWORK_POLICY with all that is wrong
   */
  setPolicy(policy: NetworkPolicyText): Promise<void>;
  /**
   * Lets the programs of a machine out, and of no other. What another had open is reset. One that is fresh, in which and
   * over whose disk nothing ran, need not be told that it has no network.
   */
  attach(machine: MachineNetwork, isFresh?: boolean): Promise<void>;
  /** The machine ends or stands still: what is open is reset with this reason, and nothing is let out or in. */
  detach(why: string): void;
  /**
   * Publishes ports of a service, all or none; what it has already stays.
   * @throws {PyroError} PUBLISHING_NOT_ALLOWED, INVALID_ARGUMENT, PORT_PRIVILEGED, PORT_TAKEN
   */
  publish(owner: PortOwner, ports: readonly PortPair[]): Promise<readonly PortPair[]>;
  /** Closes the ports of a start of a service; resolves when they are free. */
  unpublish(startId: string): Promise<void>;
}

export interface OpenNetworkOptions {
  /** The workspace's directory: network.jsonl lies in it. Without one nothing is written. */
  readonly directory?: string;
  /** What cannot be read allows nothing. */
  readonly policy: NetworkPolicyText;
  /** Every text that the machine had a part in passes here. */
  readonly redact: (text: string) => string;
}

/** Makes networks. */
export interface WorkspaceNetworks {
  open(options: OpenNetworkOptions): Promise<WorkspaceNetwork>;
}
