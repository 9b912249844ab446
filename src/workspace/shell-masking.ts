import { sleep } from "../kit/index.js";
import { LIMITS } from "../protocol/index.js";
import type { ShellPiece, ShellReading } from "./machine-shells.js";
import type { Redaction, Redactor } from "./secrets/index.js";

/** What may be the beginning of a secret is shown after this, where it is too short to tell anything of one. */
const SILENCE_MS = 50;
const STAR = 0x2a;

type End = Extract<ShellPiece, { kind: "end" }>;

/**
 * What a terminal showed, with the bytes of secrets masked: each byte keeps its place, so that cursors stay as they are.
 * The source is read from further before, so that a secret that is read in small parts is not put together from them.
 * While the shell runs, four or more bytes at the end that may be the beginning of a secret are not shown until it is known
 * what they become; fewer are, at once or, where more is waited for, after a moment of silence.
 */
export async function* maskedPieces(
  read: (reading: ShellReading) => AsyncIterable<ShellPiece>,
  reading: ShellReading,
  redactor: Redactor,
): AsyncGenerator<ShellPiece> {
  if (redactor.isEmpty) {
    yield* read(reading);
    return;
  }
  const { reachBytes } = redactor;
  const from = Math.max(0, reading.offset - reachBytes);
  const { maxBytes = 0 } = reading;
  const around = maxBytes === 0 ? {} : { maxBytes: reading.offset - from + maxBytes + reachBytes };
  const masked = new MaskedTerminal(redactor, from);
  const window = { from: reading.offset, to: maxBytes === 0 ? Infinity : reading.offset + maxBytes };
  const source = read({ ...reading, offset: from, ...around });
  const pieces = source[Symbol.asyncIterator]() as AsyncIterator<ShellPiece, undefined>;
  try {
    let next = pieces.next();
    for (;;) {
      if (masked.isBriefHold && (await isSilent(next))) yield* inWindow(masked.flush(), window);
      const came = await next;
      if (came.done === true) return;
      const piece = came.value;
      if (piece.kind === "end") {
        yield* inWindow(masked.finish(piece), window);
        yield piece;
        return;
      }
      if (piece.kind === "data") yield* inWindow(masked.take(piece.offset, piece.data), window);
      else yield piece;
      next = pieces.next();
    }
  } finally {
    await pieces.return?.();
  }
}

interface Part {
  readonly offset: number;
  readonly data: Uint8Array;
}

function* inWindow(
  parts: readonly Part[],
  { from, to }: { from: number; to: number },
): Generator<ShellPiece> {
  for (const { offset, data } of parts) {
    const shown = data.subarray(Math.max(0, from - offset), Math.max(0, to - offset));
    if (shown.length > 0) yield { kind: "data", offset: Math.max(offset, from), data: shown };
  }
}

/** Whether nothing comes for a moment. What it waits for may fail: that is for whoever takes it. */
async function isSilent(next: Promise<unknown>): Promise<boolean> {
  const over = new AbortController();
  const silence = sleep(SILENCE_MS, over.signal).then(
    () => true,
    () => false,
  );
  const came = next.then(
    () => false,
    () => false,
  );
  const silent = await Promise.race([silence, came]);
  over.abort();
  return silent;
}

/** Masks a terminal's bytes as they come, with gaps where some were dropped. */
class MaskedTerminal {
  #masking: Redaction;
  /** Where the next byte of the source comes. */
  #at: number;
  /** The next byte to be shown. */
  #shown: number;

  constructor(
    private readonly redactor: Redactor,
    from: number,
  ) {
    this.#masking = redactor.masking();
    this.#at = this.#shown = from;
  }

  /** Something is held back that is too short to be kept from a person who waits for an echo. */
  get isBriefHold(): boolean {
    return this.#shown < this.#at && this.#masking.openBytes < LIMITS.secretMinBytes;
  }

  take(offset: number, data: Uint8Array): readonly Part[] {
    const isGap = offset > this.#at;
    const before = isGap ? this.#skipTo(offset) : [];
    const taken = this.#masking.push(isGap ? this.redactor.maskRest(data) : data);
    this.#at = offset + data.length;
    return [...before, ...this.#part(taken)];
  }

  flush(): readonly Part[] {
    return this.#part(this.#masking.end());
  }

  /** At the end of a read: what was read beyond the window tells what is in it. */
  finish({ shell }: End): readonly Part[] {
    const mayGoOn = shell.isRunning && this.#at >= shell.totalBytes;
    return mayGoOn && this.#masking.openBytes >= LIMITS.secretMinBytes ? [] : this.flush();
  }

  /** What became of a beginning before a gap is not known. */
  #skipTo(offset: number): readonly Part[] {
    const held = this.#masking.openBytes >= LIMITS.secretMinBytes;
    const rest = this.#masking.end();
    const before = this.#part(held ? rest.map((byte) => (byte < 0x20 ? byte : STAR)) : rest);
    this.#masking = this.redactor.masking();
    this.#at = this.#shown = offset;
    return before;
  }

  #part(data: Uint8Array): readonly Part[] {
    const offset = this.#shown;
    this.#shown += data.length;
    return data.length === 0 ? [] : [{ offset, data }];
  }
}

/** Rows of a terminal with secrets masked, also where one goes over the end of a row. Each has as many bytes as before. */
export function maskedRows(rows: readonly string[], redactor: Redactor): readonly string[] {
  if (redactor.isEmpty || !rows.some((row) => row !== "")) return rows;
  // With ends of rows first: a value of several lines is found only with them.
  const lines = Buffer.from(redactor.mask(Buffer.from(rows.join("\n"))))
    .toString()
    .split("\n")
    .map((row) => Buffer.from(row));
  const joined = Buffer.from(redactor.mask(Buffer.concat(lines)));
  let at = 0;
  return lines.map(({ length }) => joined.subarray(at, (at += length)).toString());
}
