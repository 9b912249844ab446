import { ArchiveCheck } from "./archive-check.js";
import { SeedTally } from "./tally.js";

/**
 * A tar from somewhere that is not trusted, entry by entry: what goes on was found to be fine. Nothing in it leads out
 * of the directory it is unpacked in, and it holds no devices.
 * @throws {PyroError} SEED_ARCHIVE_INVALID, SEED_TOO_LARGE
 */
export async function* checkedTar(name: string, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const check = new ArchiveCheck(name, new SeedTally());
  for await (const chunk of chunks) yield* check.push(Buffer.from(chunk));
  check.end();
}
