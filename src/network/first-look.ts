import { LIMITS } from "../protocol/index.js";
import { judgeFirstBytes, type Seen } from "./first-bytes.js";
import { judgeAddress, type NetworkPolicy, type Target } from "./policy.js";
import { refused, type Refusal } from "./verdict.js";

/** As judgeFirstBytes. */
export type LookAtFirstBytes = typeof judgeFirstBytes;

/** The first byte of a TLS handshake record: a client always sends all of its hello. */
const TLS_RECORD = 0x16;

/**
 * Holds back what a program sends until it is clear what it is. Only this way is held: a server that speaks first is
 * heard at once. What was judged is kept, to be judged again by another policy.
 */
export class FirstBytes {
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #seen: Seen | undefined;

  constructor(
    private readonly target: Target,
    private readonly look: LookAtFirstBytes = judgeFirstBytes,
  ) {}

  /**
   * How long to wait for more than is held, in ms: it may become a request, and whoever sent it may be waiting for an
   * answer to just this. Longer where it would be refused then. Undefined: for ever.
   */
  quietMs(policy: NetworkPolicy): number | undefined {
    const first = this.#held[0]?.[0];
    if (this.#seen !== undefined || first === undefined || first === TLS_RECORD) return undefined;
    const { allowed } = judgeAddress(policy, { ...this.target, names: [] });
    return allowed ? LIMITS.networkFirstQuietMs : LIMITS.networkFirstUnclearMs;
  }

  /**
   * Decides about held bytes that nothing follows: without a line's end they may be the beginning of a request or a word
   * of another protocol. Like what names no site they pass where the address is allowed by itself; to a place that only a
   * name opened they do not, or a program could send the rest of a request later.
   */
  settle(policy: NetworkPolicy): readonly Uint8Array[] | Refusal {
    const verdict = judgeAddress(policy, { ...this.target, names: [] });
    if (!verdict.allowed) return this.#unclear();
    this.#seen = { protocol: "other" };
    return this.#held.splice(0);
  }

  /** The name or address within the bytes. */
  get host(): string | undefined {
    return this.#seen?.host;
  }

  /** What may go on now, in order; or the refusal. `data` undefined: no more will come. */
  take(data: Uint8Array | undefined, policy: NetworkPolicy): readonly Uint8Array[] | Refusal {
    if (this.#seen !== undefined) return data === undefined ? [] : [data];
    const judged = this.#heldBytes;
    if (data !== undefined) {
      this.#held.push(data);
      this.#heldBytes += data.length;
    }
    if (this.#heldBytes === 0) return [];
    const all = this.#held.length === 1 ? (this.#held[0] as Uint8Array) : Buffer.concat(this.#held);
    this.#held = [all];
    const verdict = this.look(all, this.target, policy, { ended: data === undefined, judged });
    switch (verdict.kind) {
      case "refuse":
        return { allowed: false, reason: verdict.reason, hint: verdict.hint };
      case "need-more":
        return data === undefined || this.#heldBytes > LIMITS.networkFirstBytes ? this.#unclear() : [];
      case "pass":
        this.#seen = verdict.sees;
        // Of what names nothing, no policy can say more.
        if (verdict.sees.protocol === "other") this.#held = [];
        return [all];
    }
  }

  /** What another policy says of what has passed. */
  judgeAgain(policy: NetworkPolicy): Refusal | undefined {
    const [all] = this.#held;
    if (this.#seen === undefined || all === undefined) return undefined;
    const verdict = this.look(all, this.target, policy, { ended: true });
    return verdict.kind === "refuse"
      ? { allowed: false, reason: verdict.reason, hint: verdict.hint }
      : undefined;
  }

  #unclear(): Refusal {
    const why = `its first ${this.#heldBytes} bytes do not say which host is meant`;
    return refused("the connection", why, "look at what the program sends first");
  }
}
