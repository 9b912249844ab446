import { chmodSync, closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";

/** One byte of what is in use: the first that is not zero in the middle of the file. */
export function flipByte(path: string): void {
  chmodSync(path, 0o600);
  const file = openSync(path, "r+");
  const block = Buffer.alloc(65_536);
  const middle = Math.floor(readFileSync(path).length / 2);
  for (let at = 0; ; at += block.length) {
    const length = readSync(file, block, 0, block.length, middle + at);
    if (length === 0) throw new Error(`${path} has only zeros behind its middle`);
    const used = block.findIndex((byte, index) => index < length && byte !== 0);
    if (used < 0) continue;
    writeSync(file, Buffer.from([(block[used] ?? 0) ^ 1]), 0, 1, middle + at + used);
    break;
  }
  closeSync(file);
}
