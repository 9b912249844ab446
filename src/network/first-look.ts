import { LIMITS } from "../protocol/index.js";
import { judgeFirstBytes } from "./first-bytes.js";
import type { NetworkPolicy, Target } from "./policy.js";
import { refused, type Refusal } from "./verdict.js";

/** What the first bytes of a program say; `host` is the name within them, canonical, where they have one. */
export type Look =
  | { readonly kind: "more" }
  | { readonly kind: "pass"; readonly host?: string }
  | { readonly kind: "refuse"; readonly verdict: Refusal };

/** Looks at all bytes that a program has sent so far. `isLast`: it has said that no more will come. */
export type LookAtFirstBytes = (
  bytes: Uint8Array,
  target: Target,
  policy: NetworkPolicy,
  isLast: boolean,
  /** So many of the bytes got "more" before. */
  looked: number,
) => Look;

/** The look that policy decides by. */
export const lookByPolicy: LookAtFirstBytes = (bytes, target, policy, isLast, looked) => {
  const verdict = judgeFirstBytes(bytes, target, policy, { ended: isLast, judged: looked });
  switch (verdict.kind) {
    case "need-more":
      return { kind: "more" };
    case "pass":
      return verdict.sees.host === undefined ? verdict : { kind: "pass", host: verdict.sees.host };
    case "refuse": {
      const { kind: _, ...refusal } = verdict;
      return { kind: "refuse", verdict: { ...refusal, allowed: false } };
    }
  }
};

/**
 * Holds back what a program sends until it is clear what it is. Only this way is held: a server that speaks first is
 * heard at once.
 */
export class FirstBytes {
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #isPassed = false;
  /** The name within the bytes. */
  host: string | undefined;

  constructor(private readonly look: (bytes: Uint8Array, isLast: boolean, looked: number) => Look) {}

  /** What may go on now, in order; or the refusal. `data` undefined: no more will come. */
  take(data: Uint8Array | undefined): readonly Uint8Array[] | Refusal {
    if (this.#isPassed) return data === undefined ? [] : [data];
    if (data === undefined && this.#heldBytes === 0) return [];
    if (data !== undefined) {
      this.#held.push(data);
      this.#heldBytes += data.length;
    }
    const all = this.#held.length === 1 ? (this.#held[0] as Uint8Array) : Buffer.concat(this.#held);
    const look = this.look(all, data === undefined, this.#heldBytes - (data?.length ?? 0));
    if (look.kind === "refuse") return look.verdict;
    if (look.kind === "more") {
      if (data === undefined || this.#heldBytes >= LIMITS.networkFirstBytes) {
        const why = `its first ${this.#heldBytes} bytes do not say which host is meant`;
        return refused("the connection", why, "look at what the program sends first");
      }
      this.#held = [all];
      return [];
    }
    this.#isPassed = true;
    this.host = look.host;
    this.#held = [];
    return [all];
  }
}
