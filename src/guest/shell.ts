import { randomBytes } from "node:crypto";
import { checkCommand, checkPath, LIMITS, PyroError, type GuestBytes } from "../protocol/index.js";
import {
  ShellIdle,
  type ReadShellResponse,
  type ShellExit,
  type ShellInfo,
  type ShellSize,
} from "../protocol/gen/pyro/guest/v1/shell_pb.js";
import type { GuestConnection } from "./connection.js";
import { protocolError } from "./errors.js";

/** A shell to be opened. */
export interface GuestShellSpec {
  /** Chosen by the caller, unique in the machine. */
  readonly shellId: string;
  /** Empty: a login shell that is there. */
  readonly argv: readonly GuestBytes[];
  /** "NAME=value"; nothing is inherited. */
  readonly env: readonly GuestBytes[];
  /** Absolute. */
  readonly cwd: string;
  /** Root when left out; else as `StartRequest.user` has it. */
  readonly user?: string;
  /** The shell that is there reads no profile; default false. */
  readonly noLogin?: boolean;
  readonly cols: number;
  readonly rows: number;
}

/** A shell as the agent tells of it; exactly one of `exitCode` and `signal` is there once it does not run. */
export interface GuestShell {
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

/** How a terminal is read. */
export interface GuestShellRead {
  /** First byte of interest. */
  readonly offset: number;
  /** Goes on with what comes, until the shell has exited. */
  readonly follow?: boolean;
  /** Waits first until it was quiet for so long or waits for input, at most `maxWaitMs`. */
  readonly waitForIdleMs?: number;
  readonly maxWaitMs?: number;
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

/** A size that a terminal has had, from a byte on. */
interface Size {
  readonly offset: number;
  readonly cols: number;
  readonly rows: number;
}

/** What a read brings: its sizes first, its state last. */
export type GuestShellPiece =
  | { readonly kind: "sizes"; readonly sizes: readonly Size[] }
  | { readonly kind: "resized"; readonly size: Size }
  /** A gap before `offset` was dropped. */
  | { readonly kind: "data"; readonly offset: number; readonly data: Uint8Array }
  | {
      readonly kind: "end";
      readonly shell: GuestShell;
      readonly idle: "quiet" | "input" | "exited" | "timeout" | undefined;
    };

/** How to reach the agent, now and after a loss of the connection. */
export interface ShellLine {
  readonly connection: () => GuestConnection;
  readonly reconnect: () => Promise<GuestConnection>;
}

/** Connections in a row that break before they bring anything new. */
const MAX_FRUITLESS_RECONNECTS = 5;
/** Sizes of one terminal that are told at once: the agent's own bound. */
const SIZES_MAX = 1024;
/** A close waits for its grace and for the kernel. */
const CLOSE_TIMEOUT_MS = LIMITS.killGraceMs + 12_000;

/** The shells of one machine. All calls may be repeated after a loss of the connection, and are: once. */
export class GuestShells {
  readonly #line: ShellLine;
  #reconnecting: Promise<GuestConnection> | undefined;

  constructor(line: ShellLine) {
    this.#line = line;
  }

  /** @throws {PyroError} COMMAND_NOT_FOUND, WORKING_DIRECTORY_NOT_FOUND, GUEST_PROCESS_LIMIT, INVALID_ARGUMENT */
  async open(spec: GuestShellSpec): Promise<GuestShell> {
    const { argv, env } =
      spec.argv.length === 0
        ? { argv: [], env: checkCommand(["sh"], spec.env).env }
        : checkCommand(spec.argv, spec.env);
    const { shellId, cols, rows } = spec;
    const how = { user: spec.user ?? "", noLogin: spec.noLogin ?? false };
    const cwd = checkPath(spec.cwd, "the working directory");
    const request = { shellId, argv, env, cwd, cols, rows, ...how };
    const { shell } = await this.#twice((guest) => guest.shell.open(request));
    return toShell(shell, shellId);
  }

  async list(): Promise<GuestShell[]> {
    const { shells } = await this.#twice((guest) => guest.shell.list({}));
    return shells.slice(0, LIMITS.shellsPerWorkspace).map((shell) => toShell(shell));
  }

  /** Types; gives how many of the bytes were taken: fewer, where the program does not read. */
  async write(shellId: string, data: Uint8Array): Promise<number> {
    let taken = 0;
    while (taken < data.length) {
      const part = data.subarray(taken, taken + LIMITS.bulkChunkBytes);
      const request = { shellId, data: part, writeId: freshWriteId(), maxWaitMs: LIMITS.shellInputWaitMs };
      const { acceptedBytes } = await this.#twice((guest) => guest.shell.write(request));
      if (acceptedBytes > BigInt(part.length)) throw protocolError("more input was taken than was sent");
      taken += Number(acceptedBytes);
      if (acceptedBytes < BigInt(part.length)) break;
    }
    return taken;
  }

  /** To its foreground process group. */
  async signal(shellId: string, signal: string): Promise<void> {
    await this.#twice((guest) => guest.shell.signal({ shellId, signal }));
  }

  async resize(shellId: string, size: { readonly cols: number; readonly rows: number }): Promise<GuestShell> {
    const { shell } = await this.#twice((guest) => guest.shell.resize({ shellId, ...size }));
    return toShell(shell, shellId);
  }

  /** Puts other bytes in the place of what is kept of one that has exited. @throws {PyroError} SHELL_NOT_FOUND */
  async rewrite(shellId: string, offset: number, data: Uint8Array): Promise<void> {
    await this.#twice((guest) => guest.shell.rewrite({ shellId, offset: BigInt(offset), data }));
  }

  /** Ends it with its whole tree; undefined where it was closed before. */
  async close(shellId: string): Promise<GuestShell | undefined> {
    const request = { shellId, graceMs: LIMITS.killGraceMs };
    try {
      const { shell } = await this.#twice((guest) =>
        guest.shell.close(request, { timeoutMs: CLOSE_TIMEOUT_MS }),
      );
      return toShell(shell, shellId);
    } catch (error) {
      if (error instanceof PyroError && error.code === "SHELL_NOT_FOUND") return undefined;
      throw error;
    }
  }

  /**
   * What a terminal showed, each byte once, also over a loss of the connection.
   * @throws {PyroError} SHELL_NOT_FOUND, INVALID_ARGUMENT for an offset beyond the end
   */
  async *read(shellId: string, read: GuestShellRead): AsyncGenerator<GuestShellPiece> {
    const cursor = new ShellCursor(shellId, read.offset);
    for (let fruitless = 0; ;) {
      const before = cursor.offset;
      const guest = this.#line.connection();
      try {
        yield* readOnce(guest, cursor, read);
        return;
      } catch (error) {
        fruitless = cursor.offset > before ? 0 : fruitless + 1;
        if (!isLoss(error) || read.signal?.aborted === true || fruitless > MAX_FRUITLESS_RECONNECTS) throw error;
        await this.#reconnected(guest);
      }
    }
  }

  async #twice<T>(call: (guest: GuestConnection) => Promise<T>): Promise<T> {
    const guest = this.#line.connection();
    try {
      return await call(guest);
    } catch (error) {
      if (!isLoss(error)) throw error;
      return await call(await this.#reconnected(guest));
    }
  }

  /** Another connection than the one that was lost; one attempt at a time. */
  async #reconnected(lost: GuestConnection): Promise<GuestConnection> {
    const now = this.#line.connection();
    if (now !== lost) return now;
    return await (this.#reconnecting ??= this.#line.reconnect().finally(() => (this.#reconnecting = undefined)));
  }
}

function isLoss(error: unknown): boolean {
  return error instanceof PyroError && error.code === "GUEST_DISCONNECTED";
}

/** Never 0, which would not be remembered. */
function freshWriteId(): bigint {
  return randomBytes(8).readBigUInt64BE() | 1n;
}

async function* readOnce(
  { shellOutput }: GuestConnection,
  cursor: ShellCursor,
  { follow = false, waitForIdleMs = 0, maxWaitMs = 0, maxBytes = 0, signal, offset }: GuestShellRead,
): AsyncGenerator<GuestShellPiece> {
  const left = maxBytes === 0 ? 0 : Math.max(1, maxBytes - (cursor.offset - offset));
  const request = {
    ...{ shellId: cursor.shellId, offset: BigInt(cursor.offset), follow, waitForIdleMs, maxWaitMs },
    maxBytes: BigInt(left),
  };
  for await (const message of shellOutput.read(request, signal === undefined ? {} : { signal })) {
    const piece = cursor.take(message);
    if (piece === undefined) continue;
    yield piece;
    // What a lying agent sends after the end is not even read: leaving the loop ends the call.
    if (piece.kind === "end") return;
  }
  throw protocolError(`the output of shell ${cursor.shellId} ended without its state`);
}

/** Messages in a row that carry nothing; an honest agent sends none. */
const MAX_EMPTY_MESSAGES = 1_000;

/** Where the reading of a terminal stands; it outlives connections. */
class ShellCursor {
  #empty = 0;

  constructor(
    readonly shellId: string,
    public offset: number,
  ) {}

  /** @throws {PyroError} GUEST_PROTOCOL_ERROR */
  take({ event }: ReadShellResponse): GuestShellPiece | undefined {
    switch (event.case) {
      case "sizes":
        if (event.value.sizes.length === 0 || event.value.sizes.length > SIZES_MAX)
          throw protocolError(`${event.value.sizes.length} sizes of one terminal`);
        return { kind: "sizes", sizes: event.value.sizes.map(toSize) };
      case "resized":
        return { kind: "resized", size: toSize(event.value) };
      case "chunk":
        return this.#takeData(safe(event.value.offset), event.value.data);
      case "end":
        return {
          kind: "end",
          shell: toShell(event.value.shell, this.shellId),
          idle: IDLE[event.value.idle as 1 | 2 | 3 | 4],
        };
      case undefined:
        this.#nothing();
        return undefined;
    }
  }

  #takeData(offset: number, data: Uint8Array): GuestShellPiece | undefined {
    const known = Math.max(0, this.offset - offset);
    if (known >= data.length) {
      this.#nothing();
      return undefined;
    }
    this.#empty = 0;
    this.offset = offset + data.length;
    return { kind: "data", offset: offset + known, data: known === 0 ? data : data.subarray(known) };
  }

  #nothing(): void {
    this.#empty += 1;
    if (this.#empty > MAX_EMPTY_MESSAGES) throw protocolError(`${MAX_EMPTY_MESSAGES} messages without output`);
  }
}

const IDLE = {
  [ShellIdle.QUIET]: "quiet",
  [ShellIdle.INPUT]: "input",
  [ShellIdle.EXITED]: "exited",
  [ShellIdle.TIMEOUT]: "timeout",
} as const;

/** Text of the agent's that stands in a record. */
const TEXT_MAX = 4096;
const WORDS_MAX = 100;

/** The agent's word, brought into the range of what can be. */
function toShell(info: ShellInfo | undefined, expected?: string): GuestShell {
  if (info === undefined) throw protocolError("an answer without a shell");
  const shellId = info.shellId;
  if (!/^[\w.-]{1,128}$/.test(shellId) || (expected !== undefined && shellId !== expected))
    throw protocolError("an answer about another shell");
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString().slice(0, TEXT_MAX);
  return {
    ...{ shellId, isRunning: info.running },
    ...toExit(info.running ? undefined : info.exit),
    ...{ argv: info.argv.slice(0, WORDS_MAX).map(text), cwd: text(info.cwd) },
    ...sizeOf(info),
    ...{ totalBytes: safe(info.totalBytes), firstByte: safe(info.firstByte) },
    openedAtMs: safe(info.openedUnixMs),
  };
}

function toExit(exit: ShellExit | undefined): Pick<GuestShell, "exitCode" | "signal"> {
  if (exit === undefined) return { exitCode: undefined, signal: undefined };
  const signal = /^SIG[A-Z0-9+-]{1,12}$/.test(exit.signal) ? exit.signal : undefined;
  if (signal !== undefined) return { exitCode: undefined, signal };
  // A signal that is no name came from an agent that lies: the shell certainly did not succeed.
  return { exitCode: exit.signal === "" ? Math.min(exit.code, 255) : 255, signal: undefined };
}

function toSize(size: ShellSize): Size {
  return { offset: safe(size.offset), ...sizeOf(size) };
}

function sizeOf({ cols, rows }: Pick<ShellSize, "cols" | "rows">): { cols: number; rows: number } {
  const within = (value: number, max: number): number => Math.min(Math.max(value, 1), max);
  return { cols: within(cols, LIMITS.shellColsMax), rows: within(rows, LIMITS.shellRowsMax) };
}

function safe(value: bigint): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolError(`a count of ${value}`);
  return Number(value);
}
