/**
 * Paths within a seed. One character per byte (latin1) and parts joined by "/", so that a name that is not UTF-8 stays
 * what it is and text order is byte order. Never absolute; "" is the top.
 */

/** The path as a person may read it: quoted, with whatever could confuse a terminal or a reader escaped. */
export function shown(path: string): string {
  const text = Buffer.from(path, "latin1").toString("utf8");
  const clipped = text.length > 300 ? `${text.slice(0, 300)}…` : text;
  return JSON.stringify(clipped).replace(
    // Control characters, line separators, and what changes the direction of writing.
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The directory of a path, "" for the top. */
export function parentOf(path: string): string {
  const at = path.lastIndexOf("/");
  return at < 0 ? "" : path.slice(0, at);
}

/** The last part of a path. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

export function joined(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

/** A path of the file system as text of ours, and back. */
export function bytesOf(path: string): Buffer {
  return Buffer.from(path, "latin1");
}

export function textOf(path: string | Buffer): string {
  return Buffer.from(path).toString("latin1");
}
