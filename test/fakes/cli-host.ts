import { Readable, Writable } from "node:stream";
import type { CliHost } from "../../src/cli/index.js";
import { runCli } from "../../src/cli/index.js";

/** What one command line did, run in this process. */
export interface CliRun {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliSetup {
  readonly stdin?: string | Readable;
  readonly rawArgv?: readonly Uint8Array[];
  /** Terminals instead of pipes. */
  readonly tty?: boolean;
  readonly confirm?: boolean;
  readonly terminal?: ReturnType<CliHost["openTerminal"]>;
  /** Sends signals while the command runs. */
  readonly during?: (send: (name: string) => void, stdout: () => string) => Promise<void>;
  readonly stdout?: Writable;
  readonly daemonProgram?: CliHost["daemonProgram"];
  readonly runDaemon?: CliHost["runDaemon"];
}

/** Runs one command line in this process. */
export async function cli(argv: readonly string[], setup: CliSetup = {}): Promise<CliRun> {
  const stdout = collecting(setup.tty === true);
  const stderr = collecting(setup.tty === true);
  const listeners = new Map<string, Set<() => void>>();
  const stdin = typeof setup.stdin === "string" ? Readable.from([Buffer.from(setup.stdin)]) : setup.stdin;
  const host: CliHost = {
    argv,
    rawArgv: () => setup.rawArgv ?? argv.map((word) => Buffer.from(word)),
    stdout: setup.stdout ?? stdout.stream,
    stderr: stderr.stream,
    openStdin: () => stdin,
    openTerminal: () => setup.terminal,
    confirm: () => Promise.resolve(setup.confirm === true),
    onSignal: (name, listener) => {
      const all = listeners.get(name) ?? new Set();
      listeners.set(name, all.add(listener));
      return { [Symbol.dispose]: () => void all.delete(listener) };
    },
    runDaemon: setup.runDaemon ?? (() => Promise.resolve()),
    daemonProgram: setup.daemonProgram,
  };
  const send = (name: string): void => listeners.get(name)?.forEach((listener) => listener());
  const [status] = await Promise.all([runCli(host), setup.during?.(send, stdout.text)]);
  return { status, stdout: stdout.text(), stderr: stderr.text() };
}

function collecting(isTTY: boolean): { stream: Writable; text: () => string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  return {
    stream: Object.assign(stream, { isTTY, columns: 80 }),
    text: () => Buffer.concat(chunks).toString("utf8"),
  };
}
