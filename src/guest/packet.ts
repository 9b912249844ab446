/** What a packet is for; the numbers of proto/LINK.md, Calls. */
export const KIND = { call: 1, message: 2, end: 3, credit: 4, cancel: 5 } as const;
/** MORE: the message goes on in the next packet. LAST: this side has no more messages. */
export const FLAG = { more: 1, last: 2, withMessage: 4 } as const;

export const PACKET_HEADER_BYTES = 8;
/**
 * What each side of a call may send before the first CREDIT. In an emulated guest a stream of calls reaches 0.55 of the
 * link with 256 KiB, 0.6 with 512 KiB and 0.85 with 1 MiB, and a round trip beside it 0.3 ms (p50) with all three.
 */
export const WINDOW_BYTES = 1024 * 1024;
/** No message to the agent is larger: it would end the epoch. */
export const MAX_REQUEST_BYTES = 16 * 1024 * 1024;

/** Of a CALL, in front of its name. */
export const DEADLINE_BYTES = 4;

/** A packet as it arrived; `body` is what follows the header. */
export interface Packet {
  readonly kind: number;
  readonly flags: number;
  readonly id: number;
  readonly body: Buffer;
}

/** Writes the header of a packet; `nameLength` is a CALL's alone. */
export function putPacketHeader(
  into: Buffer,
  at: number,
  packet: { readonly kind: number; readonly flags: number; readonly id: number; readonly nameLength?: number },
): void {
  into[at] = packet.kind;
  into[at + 1] = packet.flags;
  into.writeUInt16BE(packet.nameLength ?? 0, at + 2);
  into.writeUInt32BE(packet.id, at + 4);
}

/**
 * Reads a packet that the callee sent; throws an Error that names the rule it breaks. A callee sends no CALL and no
 * CANCEL.
 */
export function parseFromCallee(bytes: Buffer): Packet {
  const packet = parsePacket(bytes);
  if (packet.kind === KIND.call || packet.kind === KIND.cancel) {
    throw new Error(`a packet of kind ${packet.kind} from the side that is called`);
  }
  if (bytes.readUInt16BE(2) !== 0) throw new Error("a name where there is none");
  return packet;
}

/** Reads a packet that the caller sent; throws an Error that names the rule it breaks. */
export function parseFromCaller(bytes: Buffer): Packet {
  const packet = parsePacket(bytes);
  if (packet.kind === KIND.end && packet.body.length !== 0) throw new Error("a caller's end with bytes");
  if (packet.kind !== KIND.call && bytes.readUInt16BE(2) !== 0) throw new Error("a name where there is none");
  return packet;
}

/** What a CALL says before its first message. */
export interface CallHead {
  /** 0: none. */
  readonly timeoutMs: number;
  readonly name: string;
  /** What follows: the first message, or its begin, with WITH_MESSAGE. */
  readonly rest: Buffer;
}

/** Reads what a CALL says; throws an Error that names the rule it breaks. */
export function parseCall(bytes: Buffer, { body, flags }: Packet): CallHead {
  const nameLength = bytes.readUInt16BE(2);
  const begin = DEADLINE_BYTES + nameLength;
  if (body.length < begin) throw new Error("a call cut off");
  const rest = body.subarray(begin);
  if ((flags & FLAG.withMessage) === 0 && rest.length > 0) throw new Error("a call with bytes that are no message");
  return { timeoutMs: body.readUInt32BE(0), name: body.toString("utf8", DEADLINE_BYTES, begin), rest };
}

/** Reads a packet; throws an Error that names the rule it breaks. What only a CALL has is the callee's to check. */
export function parsePacket(bytes: Buffer): Packet {
  if (bytes.length < PACKET_HEADER_BYTES) throw new Error(`a packet of ${bytes.length} bytes`);
  const kind = bytes[0] ?? 0;
  const flags = bytes[1] ?? 0;
  const body = bytes.subarray(PACKET_HEADER_BYTES);
  if (kind < KIND.call || kind > KIND.cancel) throw new Error(`a packet of kind ${kind}`);
  const allowed = kind === KIND.call ? 7 : kind === KIND.message ? FLAG.more | FLAG.last : 0;
  if ((flags & ~allowed) !== 0 || (flags & (FLAG.more | FLAG.last)) === (FLAG.more | FLAG.last)) {
    throw new Error(`a packet of kind ${kind} with the flags ${flags}`);
  }
  if (kind === KIND.credit && (body.length !== 4 || body.readUInt32BE(0) === 0)) throw new Error("credit of nothing");
  if (kind === KIND.cancel && body.length !== 0) throw new Error("a cancel with bytes");
  return { kind, flags, id: bytes.readUInt32BE(4), body };
}
