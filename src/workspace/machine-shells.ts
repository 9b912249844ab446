/** A shell as its machine tells of it; exactly one of `exitCode` and `signal` is there once it does not run. */
export interface MachineShell {
  readonly shellId: string;
  readonly isRunning: boolean;
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly cols: number;
  readonly rows: number;
  /** Bytes that its terminal has shown, and the first of them that is kept. */
  readonly totalBytes: number;
  readonly firstByte: number;
  readonly openedAtMs: number;
}

/** A size that a terminal has from a byte on. */
export interface TerminalSize {
  readonly offset: number;
  readonly cols: number;
  readonly rows: number;
}

/** How a wait ended: quiet for as long as was asked, waiting for input, exited, or none of them in time. */
export type ShellIdleness = "quiet" | "input" | "exited" | "timeout";

/** What a read of a terminal brings: its sizes first, the shell's state last. */
export type ShellPiece =
  | { readonly kind: "sizes"; readonly sizes: readonly TerminalSize[] }
  | { readonly kind: "resized"; readonly size: TerminalSize }
  /** A gap before `offset` was dropped. */
  | { readonly kind: "data"; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: "end"; readonly shell: MachineShell; readonly idle: ShellIdleness | undefined };

/** How a terminal is read. */
export interface ShellReading {
  /** First byte of interest. */
  readonly offset: number;
  /** Goes on with what comes, until the shell has exited. */
  readonly follow?: boolean;
  readonly waitForIdleMs?: number;
  readonly maxWaitMs?: number;
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** The shells of a machine: they are the machine's own, and outlive who talks of them. */
export interface MachineShells {
  /** Empty `argv`: a shell that is there, as a login shell unless `noLogin` is set. */
  open(
    spec: {
      readonly argv: readonly Uint8Array[];
      readonly env: readonly Uint8Array[];
      /** Whom it runs as, as a command's. */
      readonly user?: string;
      readonly noLogin: boolean;
    } & Pick<MachineShell, "shellId" | "cwd" | "cols" | "rows">,
  ): Promise<MachineShell>;
  list(): Promise<readonly MachineShell[]>;
  read(shellId: string, reading: ShellReading): AsyncIterable<ShellPiece>;
  /** Gives how many bytes were taken: fewer, where the program does not read. */
  write(shellId: string, data: Uint8Array): Promise<number>;
  signal(shellId: string, signal: string): Promise<void>;
  resize(shellId: string, size: { readonly cols: number; readonly rows: number }): Promise<MachineShell>;
  /** Puts other bytes in the place of what is kept of one that has exited. @throws {PyroError} SHELL_NOT_FOUND */
  rewrite(shellId: string, offset: number, data: Uint8Array): Promise<void>;
  /** As it was last; undefined where it was closed before. */
  close(shellId: string): Promise<MachineShell | undefined>;
}
