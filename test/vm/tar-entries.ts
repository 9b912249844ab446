import { encodeTarHeader, tarEntry, tarPadding, type TarEntry } from "../../src/kit/index.js";

/** An entry of a tar, its content, and extended attributes by their names. */
export function entry(
  name: string,
  type: string,
  fields: Partial<TarEntry> & { content?: Buffer; xattrs?: Readonly<Record<string, string>> } = {},
): Buffer {
  const { content = Buffer.alloc(0), xattrs = {}, ...rest } = fields;
  const records = Object.entries(xattrs).map(([key, value]) => record(`SCHILY.xattr.${key}`, value));
  const extended = Buffer.from(records.join(""), "latin1");
  const parts = [
    encodeTarHeader(tarEntry(name, type, { ...rest, size: content.length, mtime: 1_600_000_000 })),
    content,
  ];
  const before =
    extended.length === 0 ? [] : [encodeTarHeader(tarEntry("pax", "x", { size: extended.length })), extended];
  return Buffer.concat(
    [...before, ...parts].flatMap((part) => [part, Buffer.alloc(tarPadding(part.length))]),
  );
}

/** "LENGTH KEY=VALUE\n", whose length counts itself. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length += 1;
  return `${length}${rest}`;
}

/** A file capability as Linux keeps it: revision 2, effective, CAP_NET_RAW. */
export const CAPABILITY = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
