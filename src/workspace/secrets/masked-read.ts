import type { Redactor } from "./redactor.js";

/** Part of a file: from `offset` on, at most `maxBytes`; 0 is to the end. */
export interface ReadRange {
  readonly offset: number;
  readonly maxBytes: number;
}

/**
 * What has to be read so that a secret at the edge of a range is seen whole, and a secret that is read in small pieces is
 * not put together again from them.
 */
export function withSurroundings({ offset, maxBytes }: ReadRange, { reachBytes }: Redactor): ReadRange {
  const from = Math.max(0, offset - reachBytes);
  return { offset: from, maxBytes: maxBytes === 0 ? 0 : offset - from + maxBytes + reachBytes };
}

/** The range out of what was read around it, masked: as many bytes as the file has there. */
export async function* maskedRange(
  data: AsyncIterable<Uint8Array>,
  wanted: ReadRange,
  redactor: Redactor,
): AsyncGenerator<Uint8Array> {
  const masking = redactor.masking();
  const end = wanted.maxBytes === 0 ? Number.POSITIVE_INFINITY : wanted.offset + wanted.maxBytes;
  let at = withSurroundings(wanted, redactor).offset;
  const inRange = (masked: Uint8Array): Uint8Array => {
    const part = masked.subarray(Math.max(0, wanted.offset - at), Math.max(0, end - at));
    at += masked.length;
    return part;
  };
  for await (const chunk of data) {
    const part = inRange(masking.push(chunk));
    if (part.length > 0) yield part;
    if (at >= end) return;
  }
  const part = inRange(masking.end());
  if (part.length > 0) yield part;
}
