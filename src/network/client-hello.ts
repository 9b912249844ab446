import { LIMITS } from "../protocol/index.js";
import { ByteReader } from "./byte-reader.js";

/** What the first bytes of a connection are, read as TLS (RFC 8446, RFC 5246, RFC 6066). */
export type ClientHello =
  | { readonly kind: "need-more" }
  | { readonly kind: "not-tls" }
  /** It begins as TLS does, and what follows is not what a server should be given. */
  | { readonly kind: "bad"; readonly reason: string }
  | {
      readonly kind: "hello";
      /** As it was written; absent where the client names no server. */
      readonly sni: string | undefined;
      /**
       * Whether there may be another hello within, encrypted (RFC 9849), with another name. Browsers always send what looks
       * like one, so that nobody can tell.
       */
      readonly ech: boolean;
    };

const NEED_MORE: ClientHello = { kind: "need-more" };

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const RECORD_HEADER = 5;
const RECORD_MAX = 16_384;
/** Clients that cut their hello against censors make a handful. */
const RECORDS_MAX = 64;

const SERVER_NAME = 0;
const HOST_NAME = 0;
/** Encrypted ClientHello, its drafts, and encrypted_server_name before it. */
const ENCRYPTED: ReadonlySet<number> = new Set([0xfe0d, 0xfe0a, 0xfe0b, 0xfe0c, 0xfe08, 0xfe09, 0xffce]);

/** Reads the hello from the beginning of what a client sends, across as many records as it was cut into. */
export function readClientHello(bytes: Uint8Array): ClientHello {
  // A client that speaks TLS sends at least these two; SSL 2 hellos, which name nobody, are not taken for TLS.
  if (bytes.length > 0 && bytes[0] !== HANDSHAKE) return { kind: "not-tls" };
  if (bytes.length > 1 && bytes[1] !== 3) return { kind: "not-tls" };
  const message = readHandshake(bytes);
  if (message instanceof Uint8Array) return readHello(message);
  return message;
}

/** The first handshake message, without its header, put together from its records. */
function readHandshake(bytes: Uint8Array): Uint8Array | ClientHello {
  const parts: Uint8Array[] = [];
  let at = 0;
  let length = 0;
  while (parts.length < RECORDS_MAX) {
    const joined = handshakeOf(parts, length);
    if (joined !== undefined) return joined;
    const header = bytes.subarray(at, at + RECORD_HEADER);
    if (header[0] !== undefined && header[0] !== HANDSHAKE)
      return bad("another record cuts the hello in two");
    if (header[1] !== undefined && header[1] !== 3) return bad("a record of another version cuts the hello");
    if (header.length < RECORD_HEADER) return NEED_MORE;
    const size = ((header[3] ?? 0) << 8) | (header[4] ?? 0);
    if (size === 0 || size > RECORD_MAX) return bad(`a record of ${size} bytes`);
    const part = bytes.subarray(at + RECORD_HEADER, at + RECORD_HEADER + size);
    parts.push(part);
    length += part.length;
    at += RECORD_HEADER + size;
    if (part.length < size) return handshakeOf(parts, length) ?? NEED_MORE;
  }
  return bad(`a ClientHello in ${RECORDS_MAX} records and more`);
}

/** Undefined while it is not whole. */
function handshakeOf(parts: readonly Uint8Array[], length: number): Uint8Array | ClientHello | undefined {
  if (length === 0) return undefined;
  const joined = Buffer.concat(parts, length);
  if (joined[0] !== CLIENT_HELLO) return bad("the first message is no ClientHello");
  if (length < 4) return undefined;
  const size = joined.readUIntBE(1, 3);
  if (size > LIMITS.clientHelloBytes) return bad(`a ClientHello of ${size} bytes`);
  return length < 4 + size ? undefined : joined.subarray(4, 4 + size);
}

function readHello(message: Uint8Array): ClientHello {
  const hello = new ByteReader(message);
  const version = hello.number(2);
  hello.bytes(32);
  const session = hello.vector(1);
  const suites = hello.vector(2);
  const compressions = hello.vector(1);
  if (version === undefined || session === undefined || suites === undefined || compressions === undefined) {
    return bad("the ClientHello ends early");
  }
  if (version >> 8 !== 3 || session.length > 32) return bad("the ClientHello is not of TLS");
  if (suites.length < 2 || suites.length % 2 !== 0 || compressions.length === 0) {
    return bad("the ClientHello offers nothing");
  }
  // Before TLS 1.2 there may be none.
  if (hello.isAtEnd()) return { kind: "hello", sni: undefined, ech: false };
  const extensions = hello.vector(2);
  if (extensions === undefined || !hello.isAtEnd())
    return bad("the extensions of the ClientHello do not fit");
  return readExtensions(new ByteReader(extensions));
}

function readExtensions(extensions: ByteReader): ClientHello {
  const seen = new Set<number>();
  let sni: string | undefined;
  let ech = false;
  while (!extensions.isAtEnd()) {
    const type = extensions.number(2);
    const data = extensions.vector(2);
    if (type === undefined || data === undefined) return bad("an extension of the ClientHello ends early");
    // Servers differ in which one they take (RFC 8446 section 4.2 forbids it).
    if (seen.has(type)) return bad(`extension ${type} is there twice`);
    seen.add(type);
    ech ||= ENCRYPTED.has(type);
    if (type !== SERVER_NAME) continue;
    sni = readServerName(data);
    if (sni === undefined) return bad("the server name is not one name");
  }
  return { kind: "hello", sni, ech };
}

/** The one name of type host_name: no other type was ever defined (RFC 6066 section 3). */
function readServerName(data: Uint8Array): string | undefined {
  const outer = new ByteReader(data);
  const list = outer.vector(2);
  if (list === undefined || !outer.isAtEnd()) return undefined;
  const entry = new ByteReader(list);
  const type = entry.number(1);
  const name = entry.vector(2);
  if (type !== HOST_NAME || name === undefined || name.length === 0 || !entry.isAtEnd()) return undefined;
  return Buffer.from(name).toString("latin1");
}

function bad(reason: string): ClientHello {
  return { kind: "bad", reason };
}
