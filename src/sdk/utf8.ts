/** Bytes of the character that a UTF-8 lead byte begins; 1 for what is none. */
function sequenceLength(lead: number): number {
  if (lead >= 0xf0 && lead < 0xf8) return 4;
  if (lead >= 0xe0) return lead < 0xf0 ? 3 : 1;
  return lead >= 0xc2 ? 2 : 1;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}

/** Without the beginning of a character that ends beyond the last byte. */
export function completeUtf8Prefix(bytes: Uint8Array): Uint8Array {
  let lead = bytes.length - 1;
  while (lead > 0 && bytes.length - lead < 4 && isContinuation(bytes[lead])) lead--;
  const first = bytes[lead];
  if (first === undefined) return bytes;
  return lead + sequenceLength(first) > bytes.length ? bytes.subarray(0, lead) : bytes;
}

/** Without the rest of a character that began before the first byte. */
export function completeUtf8Suffix(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < 3 && isContinuation(bytes[start])) start++;
  return bytes.subarray(start);
}
