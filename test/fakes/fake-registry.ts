import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttps, type ServerOptions } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { once } from "node:events";
import { gzipSync } from "node:zlib";
import { digestOf, type Digest } from "../../src/oci/index.js";

export interface SeenRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/** Answers in the registry's place, or gives undefined for the registry to answer. */
export type Fault = (
  request: SeenRequest,
  response: ServerResponse,
  /** How often the same path was asked for before. */
  times: number,
) => boolean | Promise<boolean>;

export interface Document {
  readonly bytes: Buffer;
  readonly mediaType: string;
}

export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip";

/** A registry in this process: serves what it is given, counts what it is asked, and fails as it is told. */
export class FakeRegistry implements AsyncDisposable {
  readonly blobs = new Map<string, Buffer>();
  /** By "repository:tag" and "repository@digest". */
  readonly documents = new Map<string, Document>();
  readonly requests: SeenRequest[] = [];
  /** Bytes of blobs that were sent, as far as the system took them. */
  blobBytesSent = 0;
  /** Asked before anything else. */
  fault: Fault | undefined;
  /** Whether ranges are served. */
  ranges = true;
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  private constructor(private readonly tls: ServerOptions | undefined) {
    const handle = (request: IncomingMessage, response: ServerResponse): void => {
      this.#handle(request, response).catch((error: unknown) => response.destroy(error as Error));
    };
    this.#server = tls === undefined ? createHttp(handle) : createHttps(tls, handle);
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(tls?: ServerOptions): Promise<FakeRegistry> {
    const registry = new FakeRegistry(tls);
    registry.#server.listen(0, "127.0.0.1");
    await once(registry.#server, "listening");
    registry.#port = (registry.#server.address() as AddressInfo).port;
    return registry;
  }

  /** As references name it. */
  get name(): string {
    return `localhost:${this.#port}`;
  }

  get url(): string {
    return `${this.tls === undefined ? "http" : "https"}://${this.name}`;
  }

  /** Paths that were asked for, without the beginning that all have. */
  get paths(): string[] {
    return this.requests.map(({ path }) => path.replace(/^\/v2\//, ""));
  }

  addBlob(bytes: Buffer): { digest: Digest; size: number } {
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  }

  addDocument(repository: string, tag: string | undefined, value: unknown, mediaType: string): Digest {
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
    const digest = digestOf(bytes);
    this.documents.set(`${repository}@${digest}`, { bytes, mediaType });
    if (tag !== undefined) this.documents.set(`${repository}:${tag}`, { bytes, mediaType });
    return digest;
  }

  /** An image of layers with random content, each about so many bytes; `change` edits its manifest. */
  addImage(repository: string, tag: string | undefined, image: FakeImage = {}): AddedImage {
    const {
      layers = [tarOf(1)],
      architecture = "amd64",
      config = {},
      change = (manifest: unknown) => manifest,
    } = image;
    const diffIds = layers.map((layer) => digestOf(layer));
    const packed = (image.packed ?? layers.map((layer) => gzipSync(layer, { level: 1 }))).map((bytes) =>
      this.addBlob(bytes),
    );
    const configBytes = Buffer.from(
      JSON.stringify({ os: "linux", architecture, rootfs: { type: "layers", diff_ids: diffIds }, ...config }),
    );
    const { digest: configDigest, size } = this.addBlob(configBytes);
    const manifest = change({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest: configDigest, size },
      layers: packed.map((layer) => ({ mediaType: OCI_LAYER, ...layer })),
    });
    const digest = this.addDocument(repository, tag, manifest, OCI_MANIFEST);
    const bytes = this.documents.get(`${repository}@${digest}`)?.bytes.length ?? 0;
    return { digest, sizeBytes: bytes, configDigest, layers: packed.map((layer) => layer.digest) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, "close");
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const seen: SeenRequest = {
      method: request.method ?? "",
      path: request.url ?? "",
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    const times = this.requests.filter(({ path }) => path === seen.path).length;
    this.requests.push(seen);
    if ((await this.fault?.(seen, response, times)) === true) return;
    const blob = /^\/v2\/.+\/blobs\/(sha256:\w+)$/.exec(seen.path)?.[1];
    if (blob !== undefined) this.sendBlob(seen, response, this.blobs.get(blob));
    else this.#sendDocument(seen, response);
  }

  /** A blob, or the part of it that is asked for. */
  sendBlob(request: SeenRequest, response: ServerResponse, bytes: Buffer | undefined): void {
    if (bytes === undefined) {
      response.writeHead(404).end();
      return;
    }
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (from > 0 && this.ranges) {
      const range = `bytes ${from}-${bytes.length - 1}/${bytes.length}`;
      response.writeHead(206, { "content-range": range, "content-length": bytes.length - from });
      this.blobBytesSent += bytes.length - from;
      response.end(bytes.subarray(from));
      return;
    }
    this.blobBytesSent += bytes.length;
    response.writeHead(200, { "content-length": bytes.length }).end(bytes);
  }

  #sendDocument({ path }: SeenRequest, response: ServerResponse): void {
    const [, repository = "", name = ""] = /^\/v2\/(.+)\/manifests\/(.+)$/.exec(path) ?? [];
    const document = this.documents.get(`${repository}${name.includes(":") ? "@" : ":"}${name}`);
    if (document === undefined) {
      response.writeHead(404, { "content-type": "application/json" });
      response.end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"what the registry says"}]}');
      return;
    }
    response.writeHead(200, {
      "content-type": document.mediaType,
      "docker-content-digest": digestOf(document.bytes),
    });
    response.end(document.bytes);
  }
}

export interface FakeImage {
  readonly layers?: readonly Buffer[];
  /** Instead of what gzip makes of them. */
  readonly packed?: readonly Buffer[];
  readonly architecture?: string;
  /** Added to the configuration, over what is there. */
  readonly config?: object;
  readonly change?: (manifest: Record<string, unknown>) => unknown;
}

export interface AddedImage {
  readonly digest: Digest;
  /** Of its manifest. */
  readonly sizeBytes: number;
  readonly configDigest: Digest;
  readonly layers: readonly Digest[];
}

/** Bytes that stand for a layer's tar, of a kind that gzip does not make smaller; the same for the same seed. */
export function tarOf(seed: number, bytes = 64 * 1024): Buffer {
  const tar = Buffer.alloc(bytes);
  let state = seed * 2_654_435_761 + 1;
  for (let at = 0; at < bytes; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    tar[at] = state >>> 16;
  }
  return tar;
}
