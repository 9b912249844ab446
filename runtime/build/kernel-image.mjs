import { gunzipSync } from "node:zlib";
import { BuildError, run } from "./progress.mjs";

/**
 * The uncompressed ELF kernel inside a bzImage, which QEMU enters directly (PVH): the guest then decompresses nothing,
 * which under software emulation is most of a second. Fields: Documentation/x86/boot.rst.
 */
export function extractKernel(bzImage) {
  if (bzImage.toString("latin1", 0x202, 0x206) !== "HdrS")
    throw new BuildError("the kernel is not a bzImage", "");
  const setupBytes = ((bzImage[0x1f1] || 4) + 1) * 512;
  const start = setupBytes + bzImage.readUInt32LE(0x248);
  const payload = bzImage.subarray(start, start + bzImage.readUInt32LE(0x24c));
  // The build appends the inflated size.
  const size = payload.readUInt32LE(payload.length - 4);
  const kernel = decompress(payload.subarray(0, payload.length - 4), payload, size);
  if (kernel.length !== size || kernel.readUInt32BE(0) !== 0x7f454c46) {
    throw new BuildError(
      `the kernel's payload did not inflate to an ELF file of ${size} bytes (got ${kernel.length})`,
      "",
    );
  }
  return kernel;
}

function decompress(data, whole, size) {
  const magic = data.toString("hex", 0, 6);
  if (magic.startsWith("02214c18")) return lz4Legacy(data, size);
  if (magic.startsWith("1f8b")) return gunzipSync(whole);
  if (magic === "fd377a585a00")
    return run("xz", ["-dc", "--single-stream"], { input: data, hint: "sudo apt-get install -y xz-utils" });
  if (magic.startsWith("28b52ffd")) return run("zstd", ["-dcq"], { input: data });
  if (magic.startsWith("7f454c46")) return data;
  throw new BuildError(`the kernel is compressed in a way this script does not know (${magic})`, "");
}

/** LZ4's legacy frame, as the kernel's build writes it: magic, then blocks of (size, data) that inflate to ≤ 8 MiB each. */
function lz4Legacy(data, size) {
  const out = Buffer.alloc(size);
  let to = 0;
  let at = 4;
  while (at + 4 <= data.length) {
    const end = at + 4 + data.readUInt32LE(at);
    if (end > data.length) throw new BuildError("the kernel's LZ4 payload is cut off", "");
    to = lz4Block(data, at + 4, end, out, to);
    at = end;
  }
  return out.subarray(0, to);
}

/** One LZ4 block: sequences of literals and matches (lz4_Block_format.md). */
function lz4Block(from, start, end, out, to) {
  let at = start;
  const lengthFrom = (nibble) => {
    let length = nibble;
    if (nibble === 15) {
      let byte;
      do length += byte = from[at++];
      while (byte === 255);
    }
    return length;
  };
  while (at < end) {
    const token = from[at++];
    const literals = lengthFrom(token >> 4);
    from.copy(out, to, at, at + literals);
    at += literals;
    to += literals;
    if (at >= end) break;
    const distance = from[at] | (from[at + 1] << 8);
    at += 2;
    const length = lengthFrom(token & 15) + 4;
    // Byte by byte where the match overlaps what it writes: that is how runs are coded.
    if (distance >= length) out.copyWithin(to, to - distance, to - distance + length);
    else for (let i = 0; i < length; i += 1) out[to + i] = out[to - distance + i];
    to += length;
  }
  return to;
}
