import { TAR_BLOCK } from "../../kit/index.js";
import { LIMITS } from "../../protocol/index.js";
import { Batch } from "./batch.js";
import type { Found } from "./found.js";
import { LargeFile, Packer, type Packed, type PackOptions, type SharedFile } from "./packed.js";
import type { SeedTally } from "./tally.js";

/** Entries that are being read at once: the file system answers on four threads of Node. */
const READ_AHEAD = 32;

/** Two blocks of zeros. */
export const TAR_END = Buffer.alloc(2 * TAR_BLOCK);

/** The entries of what is found, in its order, as one tar without its end. Nothing stays open when it ends early. */
export async function* packEntries(
  source: AsyncGenerator<Found, void, void>,
  tally: SeedTally,
  signal: AbortSignal,
  options: PackOptions = {},
): AsyncGenerator<Buffer, void, void> {
  const packer = new Packer(tally, options);
  const ahead: Promise<Packed | undefined>[] = [];
  const batch = new Batch();
  const names = new FirstNames();
  const take = async function* (): AsyncGenerator<Buffer, void, void> {
    const next = ahead.shift();
    const packed = await next;
    if (packed === undefined) return;
    const { blocks, size, shared } = packed;
    await using _ = blocks instanceof LargeFile ? blocks : undefined;
    const first = shared === undefined ? undefined : names.of(shared);
    tally.add(first === undefined ? size : 0);
    if (shared !== undefined && first !== undefined) yield* batch.add(shared.linkTo(first));
    else if (Buffer.isBuffer(blocks)) yield* batch.add(blocks);
    else {
      yield* batch.flush();
      yield* blocks.chunks();
    }
  };
  try {
    for await (const found of source) {
      const packed = packer.pack(found);
      // It is awaited in its turn, which may never come.
      packed.catch(() => undefined);
      ahead.push(packed);
      signal.throwIfAborted();
      if (ahead.length >= READ_AHEAD) yield* take();
    }
    while (ahead.length > 0) yield* take();
    yield* batch.flush();
  } finally {
    await discard(ahead);
  }
}

async function discard(ahead: readonly Promise<Packed | undefined>[]): Promise<void> {
  for (const each of await Promise.allSettled(ahead)) {
    if (each.status === "fulfilled" && each.value?.blocks instanceof LargeFile) {
      await each.value.blocks[Symbol.asyncDispose]();
    }
  }
}

/** Remembers under which name a file with several names went out first. */
class FirstNames {
  readonly #names = new Map<string, string>();

  /** The earlier name; undefined for the first, and for all beyond the bound: they become copies. */
  of({ identity, path }: SharedFile): string | undefined {
    const first = this.#names.get(identity);
    if (first === undefined && this.#names.size < LIMITS.seedHardLinks) this.#names.set(identity, path);
    return first;
  }
}
