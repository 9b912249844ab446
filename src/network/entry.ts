/** What the gateway did with a name or a connection. */
export interface NetworkEntry {
  /** Counts from 1, over the workspace's whole life. */
  readonly sequence: number;
  /** `published`: from the host into the machine. */
  readonly kind: "connection" | "name" | "published";
  readonly atMs: number;
  /** The name that was asked for, or within the connection's first bytes, or that led to the address last. */
  readonly name?: string;
  readonly address?: string;
  readonly port?: number;
  /** `open`: it goes on. `failed`: policy allowed it, and it did not come about. */
  readonly decision: "open" | "allowed" | "refused" | "failed";
  readonly reason?: string;
  readonly hint?: string;
  readonly openedBy?: string;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly durationMs?: number;
  readonly end?: string;
  /** How often the same was refused one after the other, when more than once. */
  readonly times?: number;
}

/** Exact over the workspace's whole life, whatever entries are kept. */
export interface NetworkTotals {
  connections: number;
  /** Connections to published ports; their bytes are not in the sums. */
  published: number;
  refused: number;
  failed: number;
  bytesUp: number;
  bytesDown: number;
}

/** What stands in the file. */
export interface Saved {
  readonly entry: NetworkEntry;
  readonly totals: NetworkTotals;
}
