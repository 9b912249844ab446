/** How far a pull is. */
export interface PullProgress {
  readonly phase: "fetch" | "assemble" | "unpack" | "seal";
  /** In bytes where `bytesTotal` is not 0; a phase that cannot tell has 0 of 0. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  readonly message: string;
}
