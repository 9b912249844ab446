import { randomBytes } from "node:crypto";

/**
 * A fresh, unguessable id such as "vm-3f9c…": 64 random bits, so that possession is not guessable and no two
 * state directories ever share one.
 */
export function freshId(prefix: string): string {
  return `${prefix}-${randomBytes(8).toString("hex")}`;
}
