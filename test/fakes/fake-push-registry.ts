import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { digestOf, type Digest } from "../../src/oci/index.js";

export interface SeenPush {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
}

/** Answers in the registry's place where it gives true; the body was not read then. */
export type PushFault = (request: SeenPush, response: ServerResponse, incoming: IncomingMessage) => boolean;

interface Session {
  readonly repository: string;
  bytes: Buffer;
}

/** A registry in this process that takes pushes, counts what it is sent, and fails as it is told. */
export class FakePushRegistry implements AsyncDisposable {
  readonly blobs = new Map<string, Buffer>();
  /** By "repository:tag". */
  readonly manifests = new Map<string, { readonly bytes: Buffer; readonly mediaType: string }>();
  readonly requests: SeenPush[] = [];
  /** Bytes of blobs that arrived. */
  received = 0;
  fault: PushFault | undefined;
  /** Ends the connection of a PATCH once so many bytes of it arrived; once. */
  cutAfter: number | undefined;
  /** Whether it says how far an upload is. */
  tellsStatus = true;
  /** Where it says that uploads go: this server by default. */
  uploadsAt: string | undefined;
  /** "repository@digest" that may be taken from there. */
  readonly mountable = new Set<string>();
  readonly #sessions = new Map<string, Session>();
  readonly #server = createServer((request, response) => {
    this.#handle(request, response).catch(() => response.destroy());
  });
  readonly #sockets = new Set<Socket>();

  static async start(): Promise<FakePushRegistry> {
    const registry = new FakePushRegistry();
    registry.#server.on("connection", (socket: Socket) => {
      registry.#sockets.add(socket);
      socket.once("close", () => registry.#sockets.delete(socket));
    });
    registry.#server.listen(0, "127.0.0.1");
    await once(registry.#server, "listening");
    return registry;
  }

  /** As references name it. */
  get name(): string {
    return `localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Uploads that were begun, and neither finished nor given up. */
  get openUploads(): number {
    return this.#sessions.size;
  }

  /** "METHOD path" without identifiers and queries. */
  get seen(): string[] {
    return this.requests.map(({ method, path }) => {
      const short = path.replace(/^\/v2\//, "").replace(/\?.*/, "");
      return `${method} ${short.replace(/uploads\/u\d+$/, "uploads/U").replace(/sha256:\w+/, "DIGEST")}`;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, "close");
  }

  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = incoming;
    const request = { method, path: url, headers };
    this.requests.push(request);
    if (this.fault?.(request, response, incoming) === true) return;
    const address = new URL(url, "http://registry.test");
    const [, repository = "", rest = ""] = /^\/v2\/(.+?)\/(blobs|manifests)\//.exec(address.pathname) ?? [];
    const name = address.pathname.slice(`/v2/${repository}/${rest}/`.length);
    if (rest === "manifests") await this.#manifest(repository, name, incoming, response);
    else if (name.startsWith("uploads/"))
      await this.#upload(repository, name.slice(8), address, incoming, response);
    else response.writeHead(this.blobs.has(name) ? 200 : 404).end();
  }

  async #upload(
    repository: string,
    id: string,
    { searchParams }: URL,
    incoming: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (id === "") {
      const mount = searchParams.get("mount") ?? "";
      if (this.mountable.has(`${searchParams.get("from")}@${mount}`)) {
        response.writeHead(201, { location: `/v2/${repository}/blobs/${mount}` }).end();
        return;
      }
      const fresh = `u${this.requests.length}`;
      this.#sessions.set(fresh, { repository, bytes: Buffer.alloc(0) });
      response.writeHead(202, { location: this.#place(repository, fresh) }).end();
      return;
    }
    const session = this.#sessions.get(id);
    if (session === undefined) {
      response.writeHead(404).end('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"theirs"}]}');
      return;
    }
    const location = this.#place(repository, id);
    if (incoming.method === "GET") {
      const range = `0-${Math.max(0, session.bytes.length - 1)}`;
      if (this.tellsStatus) response.writeHead(204, { location, range }).end();
      else response.writeHead(404).end();
      return;
    }
    if (incoming.method === "DELETE") {
      this.#sessions.delete(id);
      response.writeHead(204).end();
      return;
    }
    const begin = session.bytes.length;
    for await (const chunk of incoming as AsyncIterable<Buffer>) {
      session.bytes = Buffer.concat([session.bytes, chunk]);
      this.received += chunk.length;
      if (this.cutAfter === undefined || session.bytes.length - begin < this.cutAfter) continue;
      this.cutAfter = undefined;
      incoming.socket.destroy();
      return;
    }
    if (incoming.method === "PATCH") {
      response.writeHead(202, { location, range: `0-${session.bytes.length - 1}` }).end();
      return;
    }
    const digest = searchParams.get("digest") ?? "";
    if (digestOf(session.bytes) !== digest) {
      response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID","message":"theirs"}]}');
      return;
    }
    this.#sessions.delete(id);
    this.blobs.set(digest, session.bytes);
    response.writeHead(201).end();
  }

  #place(repository: string, id: string): string {
    return `${this.uploadsAt ?? ""}/v2/${repository}/blobs/uploads/${id}?_state=a%2Bb%3D`;
  }

  async #manifest(
    repository: string,
    tag: string,
    incoming: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const { config, layers } = JSON.parse(bytes.toString()) as Record<"config", { digest: Digest }> &
      Record<"layers", { digest: Digest }[]>;
    if (![config, ...layers].every(({ digest }) => this.blobs.has(digest))) {
      response.writeHead(400).end('{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"theirs"}]}');
      return;
    }
    const mediaType = incoming.headers["content-type"] ?? "";
    this.manifests.set(`${repository}:${tag}`, { bytes, mediaType });
    response.writeHead(201, { "docker-content-digest": digestOf(bytes) }).end();
  }
}
