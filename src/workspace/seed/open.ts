import { readdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { scratchDirectory, withoutCredentials } from "../../kit/index.js";
import { PyroError } from "../../protocol/index.js";
import { Archive } from "./archive.js";
import { errnoOf, sourceError } from "./errors.js";
import { walk } from "./found.js";
import { HostTree } from "./host-tree.js";
import { shown, textOf } from "./path.js";
import { openProject, streamProject } from "./project.js";
import { fetchedInto, fetchRepository } from "./repository.js";
import type { Seed, SeedOptions, SeedOrigin, SeedSource } from "./source.js";
import { SeedTally } from "./tally.js";
import { packEntries, TAR_END } from "./tree-stream.js";

/** A source that is open: its bytes without the counting, and what has to be closed. */
interface Opened extends AsyncDisposable {
  readonly origin: SeedOrigin;
  stream(): AsyncGenerator<Buffer, void, void>;
}

/**
 * Opens a source. What can be refused without reading it whole is refused here, before anything was sent.
 * @throws {PyroError} SEED_NOT_FOUND, SEED_UNREADABLE, SEED_ARCHIVE_INVALID, PROJECT_NOT_FOUND, PROJECT_UNREADABLE,
 *   REPOSITORY_UNREACHABLE, HOST_TOOL_NOT_FOUND; and the signal's reason
 */
export async function openSeed(source: SeedSource, options: SeedOptions): Promise<Seed> {
  options.signal.throwIfAborted();
  const tally = new SeedTally();
  const opened = await open(source, tally, options);
  let streamed = false;
  return {
    origin: opened.origin,
    stream: () => {
      if (streamed) throw new Error("a seed is streamed once");
      streamed = true;
      return withProgress(opened.stream(), tally, options);
    },
    get entryCount() {
      return tally.entryCount;
    },
    get bytes() {
      return tally.bytes;
    },
    get warnings() {
      return tally.warnings;
    },
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
}

async function* withProgress(
  stream: AsyncGenerator<Buffer, void, void>,
  tally: SeedTally,
  { signal, onProgress }: SeedOptions,
): AsyncGenerator<Buffer, void, void> {
  let sentBytes = 0;
  for await (const chunk of stream) {
    signal.throwIfAborted();
    yield chunk;
    sentBytes += chunk.length;
    // A large file is counted whole before it goes out.
    onProgress?.({ entryCount: tally.entryCount, bytes: Math.min(tally.bytes, sentBytes) });
  }
}

function open(source: SeedSource, tally: SeedTally, options: SeedOptions): Promise<Opened> {
  switch (source.kind) {
    case "empty":
      return Promise.resolve(openEmpty());
    case "path":
      return openPath(source.path, tally, options.signal);
    case "project":
      return openInScratch(source, tally, options);
    case "repository":
      return openInScratch(source, tally, options);
  }
}

function openEmpty(): Opened {
  return {
    origin: { mode: "empty", seedPath: null, originKind: "empty", originRef: null },
    async *stream() {
      yield TAR_END;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function openPath(path: string, tally: SeedTally, signal: AbortSignal): Promise<Opened> {
  const seedPath = resolve(path);
  const origin = { seedPath, originKind: "path", originRef: null } as const;
  if (path === "" || path.includes("\0")) throw notFound(path, "it is empty or holds a NUL byte");
  try {
    if ((await stat(seedPath)).isDirectory()) {
      const tree = await HostTree.open(seedPath);
      return {
        origin: { mode: "directory", ...origin },
        async *stream() {
          yield* packEntries(walk(tree, "", tally), tally, signal);
          yield TAR_END;
        },
        [Symbol.asyncDispose]: () => tree[Symbol.asyncDispose](),
      };
    }
    const archive = await Archive.open(seedPath);
    return {
      origin: { mode: "tar_archive", ...origin },
      stream: () => archive.stream(tally, signal),
      [Symbol.asyncDispose]: () => archive[Symbol.asyncDispose](),
    };
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"].includes(errnoOf(error))) {
      throw notFound(seedPath, errnoOf(error), error);
    }
    throw sourceError(textOf(seedPath), error);
  }
}

function notFound(path: string, why: string, cause?: unknown): PyroError {
  return new PyroError("SEED_NOT_FOUND", `there is no ${shown(textOf(path))} to seed from (${why})`, {
    hint: "name a directory, or a .tar, .tar.gz or .tar.zst: `--seed-path PATH`",
    details: { path },
    cause,
  });
}

/** A project, or a repository that becomes one; either needs a place for a repository. */
async function openInScratch(
  source: Extract<SeedSource, { kind: "project" | "repository" }>,
  tally: SeedTally,
  options: SeedOptions,
): Promise<Opened> {
  const scratch = await scratchDirectory(options.scratch);
  try {
    const { path, include } =
      source.kind === "project"
        ? { path: source.path, include: source.include ?? [] }
        : { path: await fetched(source, scratch.path, tally, options), include: [] };
    const project = await openProject(path, include, scratch.path, tally, options.signal);
    const { headId, root } = project.checkout;
    const isProject = source.kind === "project";
    return {
      origin: {
        mode: "directory",
        seedPath: isProject ? root : null,
        originKind: source.kind,
        originRef: isProject ? (headId ?? null) : `${withoutCredentials(source.url)}#${headId ?? ""}`,
      },
      async *stream() {
        yield* streamProject(project, tally, options.signal);
        yield TAR_END;
      },
      [Symbol.asyncDispose]: () => scratch[Symbol.asyncDispose](),
    };
  } catch (error) {
    await scratch[Symbol.asyncDispose]();
    throw error;
  }
}

async function fetched(
  { url, ref }: Extract<SeedSource, { kind: "repository" }>,
  scratch: string,
  tally: SeedTally,
  { signal, repositoryTimeoutMs }: SeedOptions,
): Promise<string> {
  const directory = fetchedInto(scratch);
  await fetchRepository({
    url,
    directory,
    signal,
    ...(ref === undefined ? {} : { ref }),
    ...(repositoryTimeoutMs === undefined ? {} : { timeoutMs: repositoryTimeoutMs }),
  });
  const modules = await stat(join(directory, ".gitmodules")).catch(() => undefined);
  if (modules !== undefined)
    tally.warn("the repository's submodules were not fetched: their directories are empty");
  return directory;
}

/** Removes what seeds of a process that died have left in the directory for scratch. */
export async function sweepSeeds(scratch: string): Promise<void> {
  const names = await readdir(scratch).catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return [];
    throw error;
  });
  for (const name of names) {
    if (name.startsWith("scratch-")) await rm(join(scratch, name), { recursive: true, force: true });
  }
}
