import { createHash, type Hash } from "node:crypto";
import { decodeTarHeader, TAR_BLOCK, tarPadding } from "../../src/kit/index.js";

/** One file as a tar has it, all that two trees are compared by: names and values are bytes, as latin1. */
export interface Listed {
  /** As in a tar's header. */
  readonly type: string;
  readonly mode: number;
  readonly owner: string;
  /** Of a symbolic link. */
  readonly target: string;
  readonly device: string;
  readonly sha256: string;
  /** All names of the same file, where there is more than one. */
  readonly links: readonly string[];
  /** "name=hexadecimal value", sorted. */
  readonly xattrs: readonly string[];
}

export type Listing = ReadonlyMap<string, Listed>;

const XATTR = "SCHILY.xattr.";

/** Reads a tar of a tree, as GNU tar, Go and pyro write them: long names of GNU, extended headers of POSIX. */
export async function listTar(source: AsyncIterable<Uint8Array>): Promise<Listing> {
  const bytes = new Reader(source);
  const files = new Map<string, Listed>();
  /** The other names, by the first one. */
  const others = new Map<string, string[]>();
  let extended = new Map<string, string>();
  for (;;) {
    const block = await bytes.take(TAR_BLOCK);
    if (block.every((byte) => byte === 0)) break;
    const header = decodeTarHeader(block);
    if ("xLK".includes(header.type)) {
      const body = (await bytes.take(header.size)).toString("latin1");
      await bytes.take(tarPadding(header.size));
      if (header.type === "x") extended = new Map([...extended, ...records(body)]);
      else extended.set(header.type === "L" ? "path" : "linkpath", body.replace(/\0.*$/s, ""));
      continue;
    }
    if (!/^[0-6]$/.test(header.type)) throw new Error(`an entry of type ${JSON.stringify(header.type)}`);
    const name = plain(extended.get("path") ?? header.name);
    const target = extended.get("linkpath") ?? header.linkName;
    if (header.type === "1") {
      others.set(plain(target), [...(others.get(plain(target)) ?? []), name]);
    } else {
      const size = header.type === "0" ? Number(extended.get("size") ?? header.size) : 0;
      const hash = createHash("sha256");
      await bytes.pass(size, hash);
      await bytes.take(tarPadding(size));
      if (files.has(name)) throw new Error(`${name} is in the tar twice`);
      files.set(name, {
        type: header.type,
        mode: header.mode & 0o7777,
        owner: `${extended.get("uid") ?? header.uid}:${extended.get("gid") ?? header.gid}`,
        target: header.type === "2" ? target : "",
        device: "34".includes(header.type) ? `${header.deviceMajor}:${header.deviceMinor}` : "",
        sha256: header.type === "0" ? hash.digest("hex") : "",
        links: [],
        xattrs: xattrsOf(extended),
      });
    }
    extended = new Map();
  }
  await bytes.end();
  for (const [first, more] of others) {
    const file = files.get(first);
    if (file === undefined) throw new Error(`${more.join(", ")}: links to ${first}, which is not there`);
    const links = [first, ...more].sort();
    for (const name of links) files.set(name, { ...file, links });
  }
  return files;
}

/** What differs between two trees, a line for each file; at most so many. */
export function differences(one: Listing, other: Listing, max = 30): string[] {
  const lines: string[] = [];
  for (const name of [...new Set([...one.keys(), ...other.keys()])].sort()) {
    const [left, right] = [one, other].map((listing) => shown(listing.get(name)));
    if (left !== right) lines.push(`${name}: ${left} and ${right}`);
  }
  return lines.length <= max ? lines : [...lines.slice(0, max), `and ${lines.length - max} more`];
}

function shown(file: Listed | undefined): string {
  return file === undefined ? "not there" : JSON.stringify(file);
}

function plain(name: string): string {
  return name.replace(/^(?:\.\/)+/, "").replace(/\/+$/, "") || ".";
}

function xattrsOf(extended: ReadonlyMap<string, string>): string[] {
  return [...extended]
    .filter(([key]) => key.startsWith(XATTR))
    .map(([key, value]) => `${key.slice(XATTR.length)}=${Buffer.from(value, "latin1").toString("hex")}`)
    .sort();
}

/** Records "LENGTH KEY=VALUE\n" (POSIX.1-2001, pax). */
function* records(body: string): Generator<[string, string]> {
  for (let at = 0; at < body.length;) {
    const head = /^(\d+) ([^=]+)=/.exec(body.slice(at));
    if (head === null) throw new Error("a record of the tar is damaged");
    const end = at + Number(head[1]);
    yield [head[2] ?? "", body.slice(at + head[0].length, end - 1)];
    at = end;
  }
}

/** A stream of bytes, read piece by piece. */
class Reader {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async take(count: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = count; left > 0;) {
      const part = await this.#some(left);
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts);
  }

  async pass(count: number, hash: Hash): Promise<void> {
    for (let left = count; left > 0;) {
      const part = await this.#some(left);
      hash.update(part);
      left -= part.length;
    }
  }

  /** Reads what fills up the last record. */
  async end(): Promise<void> {
    while ((await this.#source.next()).done !== true);
  }

  async #some(max: number): Promise<Buffer> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) throw new Error("the tar ends too early");
      this.#rest = Buffer.from(next.value);
    }
    const part = this.#rest.subarray(0, max);
    this.#rest = this.#rest.subarray(part.length);
    return part;
  }
}
