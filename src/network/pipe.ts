/** A connection's end in the guest. What it gives is hostile. One reader and one writer at a time. */
export interface GuestPipe {
  /** The next bytes; undefined when the guest sends no more. Throws when it was reset, or its machine is gone. */
  read(): Promise<Uint8Array | undefined>;
  /** Resolves when the bytes are taken off; until then they are not to be changed. Throws as `read` does. */
  write(data: Uint8Array): Promise<void>;
  /** No more will come. */
  finish(): Promise<void>;
  /** Ends it with an error. */
  reset(message: string): void;
  /** Fires when the guest has reset it or is gone, with what `read` throws. */
  readonly broken: AbortSignal;
}

/** Why a connection that a guest wants does not come about. */
export type RefusedBecause = "policy" | "refused" | "unreachable" | "timed-out" | "limit";

/** A connection that a guest wants: first `open` or `refuse`, once. */
export interface IncomingPipe extends GuestPipe {
  open(): Promise<void>;
  refuse(because: RefusedBecause, message: string): Promise<void>;
}

/** What a guest says it wants to connect to. */
export interface WantedTarget {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly port: number;
  /** Which command, service or shell, by the guest's own word. */
  readonly openedBy: string;
}
