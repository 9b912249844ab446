import type { Readable, Writable } from "node:stream";

/** A stream that may be a terminal. */
export interface TerminalWritable extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** The user's own terminal. */
export interface LocalTerminal {
  readonly input: Readable;
  /** Raw: each key comes as it is pressed, and none has a meaning here. */
  readonly setRaw: (isRaw: boolean) => void;
  readonly size: () => { readonly cols: number; readonly rows: number };
  readonly onResize: (listener: () => void) => Disposable;
}

/** The world of one invocation of the command; tests give another one than the process. */
export interface CliHost {
  /** The words after the program's name. */
  readonly argv: readonly string[];
  /** The same words as the kernel passed them, for those that are not UTF-8. */
  readonly rawArgv: () => readonly Uint8Array[];
  readonly stdout: TerminalWritable;
  readonly stderr: TerminalWritable;
  /** Standard input where there is one to pass on: a pipe, a file, a terminal in the foreground; else undefined. */
  readonly openStdin: () => Readable | undefined;
  /** The terminal that standard input and output both are, in the foreground; else undefined. */
  readonly openTerminal: () => LocalTerminal | undefined;
  /** Asks on the terminal; false without one. */
  readonly confirm: (question: string) => Promise<boolean>;
  readonly onSignal: (name: "SIGINT" | "SIGTERM" | "SIGHUP", listener: () => void) => Disposable;
  /** Serves as the daemon until it leaves; the command line itself knows nothing of the daemon's code. */
  readonly runDaemon: (options: { readonly stateDir: string | undefined }) => Promise<void>;
  /** For tests: how a daemon is started. */
  readonly daemonProgram?: { readonly program: string; readonly args: readonly string[] } | undefined;
}
