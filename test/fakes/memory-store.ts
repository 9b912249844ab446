import type { SpoolStore } from "../../src/workspace/spool.js";

/** A store in memory that grows with what is written. */
export function memoryStore(): SpoolStore {
  let area = Buffer.alloc(0);
  return {
    write: (position, data) => {
      if (area.length < position + data.length) {
        const grown = Buffer.alloc(Math.max(position + data.length, area.length * 2));
        area.copy(grown);
        area = grown;
      }
      area.set(data, position);
      return Promise.resolve();
    },
    read: (position, length) => Promise.resolve(Buffer.from(area.subarray(position, position + length))),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
