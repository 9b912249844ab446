import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";

/** What Node's own TLS (OpenSSL) reads out of a hello: `false` for no server name, undefined where it refuses all of it. */
export async function openSslName(bytes: Buffer): Promise<string | false | undefined> {
  const wire = endless(bytes);
  let name: string | false | undefined;
  const server = new TLSSocket(wire, {
    isServer: true,
    // Called for the hello, before any certificate is looked for.
    SNICallback: (servername, callback) => {
      name = servername;
      callback(new Error("that is all"));
    },
    ALPNCallback: () => undefined,
  });
  server.on("error", () => undefined);
  await settled(server);
  server.destroy();
  wire.destroy();
  return name;
}

/** What Node's own HTTP, at its most lenient, takes for the first request; undefined where it takes nothing for one. */
export async function nodeRequest(bytes: Buffer): Promise<IncomingMessage | undefined> {
  const wire = endless(bytes);
  let found: IncomingMessage | undefined;
  const first = (request: IncomingMessage, response?: ServerResponse): void => {
    found ??= request;
    response?.destroy();
  };
  const server = createServer({ insecureHTTPParser: true, requireHostHeader: false }, first);
  server.on("connect", (request) => first(request));
  server.on("upgrade", (request) => first(request));
  server.on("clientError", () => undefined);
  server.emit("connection", wire);
  await settled(wire);
  wire.destroy();
  return found;
}

/** A connection on which these bytes come, and then nothing. */
function endless(bytes: Buffer): Duplex {
  let sent = false;
  const wire = new Duplex({
    read() {
      if (!sent) this.push(bytes);
      sent = true;
    },
    write: (_chunk, _encoding, callback) => callback(),
  });
  wire.on("error", () => undefined);
  // What Node's HTTP asks of a socket.
  return Object.assign(wire, { setTimeout: () => wire, setNoDelay: () => wire, setKeepAlive: () => wire });
}

/** Both parsers work within the turns of the loop that follow the bytes. */
async function settled(_stream: Duplex): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await new Promise((resolve) => setImmediate(resolve));
}
