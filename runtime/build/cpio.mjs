/**
 * A cpio archive in "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst) that depends on nothing
 * but its input: entries sorted by path, times 0, owner 0, inode numbers counted.
 * @param {Array<{path: string, mode: number, content?: Buffer, device?: [number, number]}>} entries mode with type bits
 */
export function cpioArchive(entries) {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  const parts = sorted.flatMap((entry, index) => record(entry, index + 1));
  parts.push(...record({ path: "TRAILER!!!", mode: 0 }, 0));
  return Buffer.concat(parts);
}

function record({ path, mode, content = Buffer.alloc(0), device = [0, 0] }, inode) {
  const name = Buffer.from(`${path}\0`, "utf8");
  const links = (mode & 0o170000) === 0o040000 ? 2 : 1;
  const fields = [inode, mode, 0, 0, links, 0, content.length, 0, 0, device[0], device[1], name.length, 0];
  const header = Buffer.from(
    `070701${fields.map((field) => field.toString(16).padStart(8, "0").toUpperCase()).join("")}`,
    "latin1",
  );
  return [header, name, padding(header.length + name.length), content, padding(content.length)];
}

/** Headers and contents begin at multiples of four. */
function padding(length) {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
