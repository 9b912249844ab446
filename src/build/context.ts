import { constants } from "node:fs";
import { open } from "node:fs/promises";
import dockerignore, { type Ignore } from "@balena/dockerignore";
import { LIMITS, PyroError } from "../protocol/index.js";
import {
  HostTree,
  packEntries,
  SeedTally,
  sourceError,
  TAR_END,
  walk,
  type Found,
  type PackOptions,
} from "../workspace/index.js";
import { namePattern } from "./glob.js";
import { invalidRecipe, type Place } from "./recipe.js";
import { TarDigest } from "./tar-digest.js";

/** Something of the context that COPY takes. Paths have one character per byte (latin1), parts joined by "/". */
export interface ContextSource {
  readonly kind: "file" | "directory";
  /** "" is the context itself. */
  readonly path: string;
}

const IGNORE_FILE = ".dockerignore";
/** A list of patterns of this size is somebody's mistake. */
const IGNORE_BYTES_MAX = 1024 * 1024;

/**
 * The directory that COPY takes from. Nothing outside of it is read: each directory is opened from the one above it, and
 * never through a link.
 */
export class BuildContext implements AsyncDisposable {
  readonly #tree: HostTree;
  readonly #path: string;
  readonly #ignored: Ignore | undefined;
  /** Of all that is taken, together. */
  readonly #tally = new SeedTally();

  private constructor(tree: HostTree, path: string, ignored: Ignore | undefined) {
    this.#tree = tree;
    this.#path = path;
    this.#ignored = ignored;
  }

  /** @throws {PyroError} BUILD_SOURCE_NOT_FOUND, SEED_UNREADABLE */
  static async open(path: string): Promise<BuildContext> {
    const tree = await HostTree.open(path).catch((error: unknown) => {
      const { code = "?" } = error as NodeJS.ErrnoException;
      throw new PyroError(
        "BUILD_SOURCE_NOT_FOUND",
        `the context ${JSON.stringify(path)} cannot be opened: ${code}`,
        {
          hint: "name the directory that COPY takes from: `--context DIR`",
          details: { path },
          cause: error,
        },
      );
    });
    try {
      return new BuildContext(tree, path, await readIgnoreFile(tree));
    } catch (error) {
      await tree[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * What a source of COPY stands for, in byte order; `*`, `?` and `[…]` match within one name.
   * @throws {PyroError} BUILD_SOURCE_NOT_FOUND, BUILD_FILE_INVALID where it leaves the context or leads through a link
   */
  async find(place: Place, source: string): Promise<ContextSource[]> {
    const parts = Buffer.from(source).toString("latin1").split("/");
    const wanted = parts.filter((part) => part !== "" && part !== ".");
    if (wanted.includes("..")) {
      throw invalidRecipe(
        place,
        `${JSON.stringify(source)} leads out of the context`,
        "COPY takes what is in the context: move it there, or name another `--context`",
      );
    }
    let found: ContextSource[] = [{ kind: "directory", path: "" }];
    for (const part of wanted) {
      const below: ContextSource[] = [];
      for (const { kind, path } of found) {
        if (kind === "directory") below.push(...(await this.#matches(place, path, part)));
      }
      found = below;
    }
    if (found.length > 0) return found;
    const why = this.#ignored === undefined ? "" : `, or ${IGNORE_FILE} leaves it out`;
    throw new PyroError(
      "BUILD_SOURCE_NOT_FOUND",
      `${place.text}: there is no ${JSON.stringify(source)} in ${JSON.stringify(this.#path)}${why}`,
      {
        hint: "sources are relative to the context: `--context DIR` names another",
        details: { place: place.text, source, context: this.#path },
      },
    );
  }

  async #matches(place: Place, directory: string, part: string): Promise<ContextSource[]> {
    const pattern = namePattern(part);
    const found: ContextSource[] = [];
    for (const entry of await this.#list(directory)) {
      if (!(pattern?.test(entry.name) ?? entry.name === part)) continue;
      const path = directory === "" ? entry.name : `${directory}/${entry.name}`;
      if (entry.kind === "directory") found.push({ kind: "directory", path });
      else if (entry.kind === "file" && !this.#isIgnored(path)) found.push({ kind: "file", path });
      else if (entry.kind === "link" && pattern === undefined) {
        const shown = JSON.stringify(Buffer.from(path, "latin1").toString());
        throw invalidRecipe(
          place,
          `${shown} is a link`,
          "name what it leads to; links within a copied directory are copied as links",
        );
      }
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async #list(path: string): Promise<{ name: string; kind: "file" | "directory" | "link" | "other" }[]> {
    const directory = await this.#tree.directory(path).catch((error: unknown) => {
      throw sourceError(path, error);
    });
    try {
      return (await directory.list()).map((entry) => ({
        name: entry.name.toString("latin1"),
        kind: entry.isFile()
          ? "file"
          : entry.isDirectory()
            ? "directory"
            : entry.isSymbolicLink()
              ? "link"
              : "other",
      }));
    } catch (error) {
      throw sourceError(path, error);
    } finally {
      await directory.release();
    }
  }

  /** Of the content of a source with its names and modes, as it will be sent. */
  async digest(source: ContextSource, options: PackOptions, signal: AbortSignal): Promise<string> {
    const digest = digestOf(source);
    for await (const chunk of this.#pack(source, options, signal)) digest.update(chunk);
    return digest.digest();
  }

  /**
   * A source as one tar: a directory's content, or a file called `name`.
   * @throws {PyroError} SEED_CHANGED where it is not what `digest` was, once the last was sent
   */
  async *stream(
    source: ContextSource,
    { name, digest, ...options }: PackOptions & { readonly name: string; readonly digest: string },
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, void> {
    const seen = digestOf(source);
    const rename = source.kind === "file" ? { rename: () => name } : {};
    for await (const chunk of this.#pack(source, { ...options, ...rename }, signal)) {
      seen.update(chunk);
      yield chunk;
    }
    if (seen.digest() === digest) {
      yield TAR_END;
      return;
    }
    const shown = JSON.stringify(Buffer.from(source.path, "latin1").toString());
    throw new PyroError("SEED_CHANGED", `${shown} was changed while the build took it`, {
      hint: "build again when nothing writes to it",
      retryable: true,
    });
  }

  async *#pack(
    source: ContextSource,
    options: PackOptions,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer, void, void> {
    const tally = new SeedTally();
    const { path } = source;
    const prefix = path === "" ? 0 : path.length + 1;
    const rename = (name: string): string => name.slice(prefix);
    const found = source.kind === "directory" ? this.#below(path) : this.#file(path);
    for await (const chunk of packEntries(found, tally, signal, { rename, ...options })) {
      signal.throwIfAborted();
      if (tally.bytes <= LIMITS.buildContextBytes) yield chunk;
      else throw tooLarge("one COPY takes too much", "context", LIMITS.buildContextBytes);
    }
  }

  /** All that is in a directory and not left out. */
  async *#below(top: string): AsyncGenerator<Found, void, void> {
    for await (const found of walk(this.#tree, top, this.#tally)) {
      if (found.path === top || this.#isIgnored(found.path)) await found.directory.release();
      else yield found;
    }
  }

  async *#file(path: string): AsyncGenerator<Found, void, void> {
    const at = path.lastIndexOf("/");
    const directory = await this.#tree.directory(at < 0 ? "" : path.slice(0, at));
    yield { kind: "file", path, directory, name: path.slice(at + 1) };
  }

  #isIgnored(path: string): boolean {
    return this.#ignored?.ignores(Buffer.from(path, "latin1").toString()) ?? false;
  }

  /** What was left out because it is neither file, directory nor link. */
  get warnings(): readonly string[] {
    return [...new Set(this.#tally.warnings)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tree[Symbol.asyncDispose]();
  }
}

function digestOf(source: ContextSource): TarDigest {
  return new TarDigest({ isNamed: source.kind === "directory" });
}

async function readIgnoreFile(tree: HostTree): Promise<Ignore | undefined> {
  const top = await tree.directory("");
  try {
    await using file = await open(
      top.child(IGNORE_FILE),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    const facts = await file.stat();
    if (!facts.isFile()) throw noIgnoreFile("no regular file");
    const { size } = facts;
    if (size > IGNORE_BYTES_MAX)
      throw tooLarge(`${IGNORE_FILE} has ${size} bytes`, "ignore file", IGNORE_BYTES_MAX);
    return dockerignore.default().add(await file.readFile("utf8"));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw noIgnoreFile("a link");
    throw sourceError(IGNORE_FILE, error);
  } finally {
    await top.release();
  }
}

/** Not known, nothing is left out: what it names is not to be sent. */
function noIgnoreFile(what: string): PyroError {
  const hint = "put the patterns into a file of this name in the context itself";
  return invalidRecipe({ text: IGNORE_FILE }, `it is ${what}`, hint);
}

function tooLarge(message: string, which: string, limit: number): PyroError {
  return new PyroError("BUILD_LIMIT_EXCEEDED", message, {
    hint: `at most ${limit} bytes; leave out what the image does not need, in ${IGNORE_FILE}`,
    details: { which, limit },
  });
}
