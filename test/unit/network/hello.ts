import { Duplex } from "node:stream";
import { connect, type ConnectionOptions } from "node:tls";

/** The bytes that this Node's own TLS sends first. */
export async function realHello(options: ConnectionOptions): Promise<Buffer> {
  let done: (bytes: Buffer) => void;
  const sent = new Promise<Buffer>((resolve) => (done = resolve));
  const pipe = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, callback) => {
      done(chunk);
      callback();
    },
  });
  const client = connect({ socket: pipe, rejectUnauthorized: false, ...options });
  client.on("error", () => undefined);
  const bytes = await sent;
  client.destroy();
  pipe.destroy();
  return bytes;
}

export type Extension = readonly [type: number, data: Buffer];

/** A hello by hand: of one record, or of records of at most `recordBytes`. */
export function hello(extensions: readonly Extension[] | undefined, recordBytes = 16_384): Buffer {
  return records(message(extensions), recordBytes);
}

export function message(extensions: readonly Extension[] | undefined): Buffer {
  const listed = (extensions ?? []).map(([type, data]) => Buffer.concat([number(type, 2), vector(data, 2)]));
  const body = Buffer.concat([
    number(0x0303, 2),
    Buffer.alloc(32, 7),
    vector(Buffer.alloc(32, 9), 1),
    vector(Buffer.from([0x13, 0x01, 0x13, 0x02]), 2),
    vector(Buffer.from([0]), 1),
    ...(extensions === undefined ? [] : [vector(Buffer.concat(listed), 2)]),
  ]);
  return Buffer.concat([Buffer.from([1]), vector(body, 3)]);
}

export function records(handshake: Buffer, recordBytes: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < handshake.length; at += recordBytes) {
    parts.push(Buffer.from([22, 3, 1]), vector(handshake.subarray(at, at + recordBytes), 2));
  }
  return Buffer.concat(parts);
}

/** The extension server_name with one host. */
export function serverName(name: string | Buffer): Extension {
  return [0, vector(Buffer.concat([Buffer.from([0]), vector(Buffer.from(name), 2)]), 2)];
}

export function vector(bytes: Buffer, countBytes: number): Buffer {
  return Buffer.concat([number(bytes.length, countBytes), bytes]);
}

function number(value: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}
