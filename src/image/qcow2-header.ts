import { open } from "node:fs/promises";
import { PyroError } from "../protocol/index.js";
import { IMAGE_VIRTUAL_BYTES } from "./layout.js";

/** The header's part that every version 3 has (docs/interop/qcow2.txt of QEMU). */
const HEADER_BYTES = 104;
const MAGIC = 0x514649fb;

/**
 * Lets a qcow2 pass that is a disk by itself: one that names no other file, and asks of its reader nothing besides reading
 * it. What wrote it is QEMU, with a guest inside that may have got out.
 * @throws {PyroError} ENVIRONMENT_BUILD_FAILED
 */
export async function requireStandalone(path: string): Promise<void> {
  await using file = await open(path);
  const header = Buffer.alloc(HEADER_BYTES);
  const { bytesRead } = await file.read(header, 0, HEADER_BYTES, 0);
  const isStandalone =
    bytesRead === HEADER_BYTES &&
    header.readUInt32BE(0) === MAGIC &&
    header.readUInt32BE(4) === 3 &&
    // What lies below it.
    header.readBigUInt64BE(8) === 0n &&
    header.readBigUInt64BE(24) === BigInt(IMAGE_VIRTUAL_BYTES) &&
    // Encryption, and states that are kept within.
    header.readUInt32BE(32) === 0 &&
    header.readUInt32BE(60) === 0 &&
    // Features that its reader has to know: damaged, not closed, its data in another file, compressed otherwise.
    header.readBigUInt64BE(72) === 0n;
  if (isStandalone) return;
  throw new PyroError("ENVIRONMENT_BUILD_FAILED", "the disk that was made is not a whole one by itself", {
    hint: "pull it again; if that fails too, the image is not to be trusted",
    details: { header: header.subarray(0, bytesRead).toString("hex") },
  });
}
