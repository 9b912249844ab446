import { open, rm, type FileHandle } from "node:fs/promises";
import { encodeTarHeader, TAR_BLOCK, tarEntry, tarPadding, type TarEntry } from "../kit/index.js";

const BUFFER_BYTES = 1024 * 1024;

/** A tar that is being written to a file; dispose of it to close the file. */
export class LayerFile implements AsyncDisposable {
  readonly path: string;
  readonly #file: FileHandle;
  #buffered: Buffer[] = [];
  #bufferedBytes = 0;
  #position = 0;

  private constructor(path: string, file: FileHandle) {
    this.path = path;
    this.#file = file;
  }

  /** Starts an empty layer; a file of that name is replaced. */
  static async create(path: string): Promise<LayerFile> {
    // An earlier one may be read-only.
    await rm(path, { force: true });
    return new LayerFile(path, await open(path, "wx", 0o600));
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.#position + this.#bufferedBytes;
  }

  async header(entry: TarEntry): Promise<void> {
    await this.write(encodeTarHeader(entry));
  }

  async write(chunk: Buffer): Promise<void> {
    // The caller's buffer may be a view that its owner reuses.
    this.#buffered.push(Buffer.from(chunk));
    this.#bufferedBytes += chunk.length;
    if (this.#bufferedBytes >= BUFFER_BYTES) await this.#flush();
  }

  async pad(size: number): Promise<void> {
    await this.write(Buffer.alloc(tarPadding(size)));
  }

  async directory(name: string, mode = 0o755): Promise<void> {
    await this.header(tarEntry(name.endsWith("/") ? name : `${name}/`, "5", { mode }));
  }

  async file(name: string, content: string | Buffer, mode = 0o644): Promise<void> {
    const bytes = Buffer.from(content);
    await this.header(tarEntry(name, "0", { mode, size: bytes.length }));
    await this.write(bytes);
    await this.pad(bytes.length);
  }

  async symlink(name: string, target: string): Promise<void> {
    await this.header(tarEntry(name, "2", { mode: 0o777, linkName: target }));
  }

  async device(name: string, major: number, minor: number): Promise<void> {
    await this.header(tarEntry(name, "3", { mode: 0o666, deviceMajor: major, deviceMinor: minor }));
  }

  /** Writes a file whose size is known only when `content` has been written; gives what `content` gives. */
  async streamed<T>(name: string, content: () => Promise<T>): Promise<T> {
    const at = this.sizeBytes;
    const entry = tarEntry(name, "0");
    const headerBytes = encodeTarHeader(entry).length;
    await this.write(Buffer.alloc(headerBytes));
    const result = await content();
    const size = this.sizeBytes - at - headerBytes;
    await this.pad(size);
    await this.patch(at, encodeTarHeader({ ...entry, size }));
    return result;
  }

  /** Overwrites bytes that were written before. */
  async patch(position: number, bytes: Buffer): Promise<void> {
    await this.#flush();
    await this.#file.write(bytes, 0, bytes.length, position);
  }

  /** Ends the tar and makes it durable. */
  async finish(): Promise<void> {
    await this.write(Buffer.alloc(2 * TAR_BLOCK));
    await this.#flush();
    await this.#file.sync();
  }

  async #flush(): Promise<void> {
    if (this.#bufferedBytes === 0) return;
    const bytes = Buffer.concat(this.#buffered);
    this.#buffered = [];
    this.#bufferedBytes = 0;
    await this.#file.write(bytes, 0, bytes.length, this.#position);
    this.#position += bytes.length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}
