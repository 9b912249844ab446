import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "vitest";
import { randomFrom } from "../workspace/diff/random-trees.js";

export type Random = (below: number) => number;

/** Rounds of the short form, which belongs to the unit tests. */
const SHORT_ROUNDS = 400;
/** Set by `make fuzz`: how long each fuzzer goes on. */
const SECONDS = Number(process.env["PYRO_FUZZ_SECONDS"] ?? 0);
const FIRST_SEED = Number(process.env["PYRO_FUZZ_SEED"] ?? Date.now() % 1_000_000_000);
/** A file that a failure left: it alone is tried, by the fuzzer whose name it bears. */
const INPUT = process.env["PYRO_FUZZ_INPUT"];

/**
 * Checks inputs that `generate` makes, each of a seed of its own. What fails is written to a file, and the error says how to
 * try it again.
 */
export function fuzz(
  name: string,
  generate: (random: Random) => Uint8Array,
  check: (input: Buffer) => void | Promise<void>,
): void {
  it(`${name}: holds for any input`, { timeout: SECONDS * 1000 + 60_000 }, async () => {
    if (INPUT !== undefined) {
      if (INPUT.includes(`${name}-`)) await check(readFileSync(INPUT));
      return;
    }
    const end = Date.now() + SECONDS * 1000;
    for (let round = 0; round < SHORT_ROUNDS || Date.now() < end; round++) {
      const seed = FIRST_SEED + round;
      const input = Buffer.from(generate(randomFrom(seed)));
      try {
        await check(input);
      } catch (error) {
        const file = keep(name, seed, input);
        const again = `PYRO_FUZZ_INPUT=${file} npx vitest run --project unit test/unit/network/fuzz`;
        throw new Error(`${name} fails for PYRO_FUZZ_SEED=${seed}; again: ${again}\n${String(error)}`, {
          cause: error,
        });
      }
    }
  });
}

function keep(name: string, seed: number, input: Uint8Array): string {
  const directory = process.env["PYRO_FUZZ_DIR"] ?? join(tmpdir(), "pyro-fuzz");
  mkdirSync(directory, { recursive: true });
  const file = join(directory, `${name}-${seed}`);
  writeFileSync(file, input);
  return file;
}

/** Damage as hostile and careless writers make it: bits, bytes, cuts, repeats, and pieces of others. */
export function mutate(input: Buffer, pieces: readonly Buffer[], random: Random): Buffer {
  let bytes = input;
  for (let edit = random(5); edit > 0; edit--) {
    const at = random(bytes.length + 1);
    const piece = pieces[random(pieces.length)] ?? Buffer.alloc(0);
    const forms: (() => Buffer)[] = [
      () => splice(bytes, at, 1, Buffer.from([(bytes[at] ?? 0) ^ (1 << random(8))])),
      () => splice(bytes, at, 1, Buffer.from([random(256)])),
      () => splice(bytes, at, random(8), Buffer.alloc(0)),
      () => splice(bytes, at, 0, piece),
      () => splice(bytes, at, piece.length, piece),
      () => splice(bytes, at, 0, bytes.subarray(at, at + random(40))),
      () => bytes.subarray(0, at),
    ];
    bytes = forms[random(forms.length)]?.() ?? bytes;
  }
  return bytes;
}

function splice(bytes: Buffer, at: number, count: number, piece: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + count)]);
}

export function pick<T>(list: readonly T[], random: Random): T {
  const item = list[random(list.length)];
  if (item === undefined) throw new Error("an empty list");
  return item;
}
