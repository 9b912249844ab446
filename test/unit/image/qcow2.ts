import { IMAGE_VIRTUAL_BYTES } from "../../../src/image/layout.js";

/** Of an image as the real qemu-img makes it, up to where content may begin. */
export function qcow2Header(): Buffer {
  const header = Buffer.alloc(65_536);
  header.write("QFI\xfb", "latin1");
  header.writeUInt32BE(3, 4);
  header.writeBigUInt64BE(BigInt(IMAGE_VIRTUAL_BYTES), 24);
  return header;
}
