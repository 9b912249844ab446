import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";

/** One structured line per event: time, level, event name, fields. */
export interface Logger {
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
}

const ROTATE_BYTES = 4 * 1024 * 1024;

/** JSON lines appended to a file, which is rotated once (`path.1`) at 4 MiB. A full disk loses lines, never the caller. */
export function fileLogger(path: string): Logger & Disposable {
  let fd = openSync(path, "a", 0o600);
  let size = fstatSync(fd).size;
  const write = (level: string, event: string, fields: Readonly<Record<string, unknown>> = {}): void => {
    try {
      const line = `${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`;
      if (size + line.length > ROTATE_BYTES) {
        closeSync(fd);
        renameSync(path, `${path}.1`);
        fd = openSync(path, "a", 0o600);
        size = 0;
      }
      size += writeSync(fd, line);
    } catch {
      // Nothing sensible can be done about a log that cannot be written.
    }
  };
  return {
    info: (event, fields) => write("info", event, fields),
    warn: (event, fields) => write("warn", event, fields),
    error: (event, fields) => write("error", event, fields),
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Drops everything; for tests and for callers without a log. */
export const silentLogger: Logger = { info: () => undefined, warn: () => undefined, error: () => undefined };
