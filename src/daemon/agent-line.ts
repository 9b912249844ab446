import type { GuestConnection } from "../guest/index.js";
import { sleep, within } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";

/** In which a connection that somebody found broken is known to be so. */
const BROKEN_MS = 50;
/** A call that takes longer is cut: what reads on by offset goes on afterwards, and nothing else lasts. */
const QUIET_MS = 2_000;
/** A burst of input to a command ends so long after its last byte (src/guest/input.ts), and its answer is quick. */
const INPUT_LINGERS_MS = 80;

/**
 * The line to a machine's agent: one connection at a time for all who speak to it. While the machine is saved nobody is
 * on the line, and whoever calls waits.
 */
export class AgentLine implements AsyncDisposable {
  #guest: GuestConnection;
  #isClosed = false;
  #reconnecting: Promise<GuestConnection> | undefined;
  #uses = 0;
  #inputAt = -Infinity;
  #onQuiet: () => void = () => undefined;
  #away: Away | undefined;
  readonly #onNewGuest: (() => void)[] = [];

  constructor(
    guest: GuestConnection,
    private readonly connect: (signal?: AbortSignal) => Promise<GuestConnection>,
  ) {
    this.#guest = guest;
    this.#watch(guest);
  }

  get guest(): GuestConnection {
    return this.#guest;
  }

  /** Calls `then` whenever there is a new connection, before anybody else uses it. */
  onNewGuest(then: () => void): void {
    this.#onNewGuest.push(then);
  }

  /** One short call. Waits while nobody may be on the line; the line is not left before it has ended. */
  async during<T>(call: (guest: GuestConnection) => Promise<T>): Promise<T> {
    while (this.#away !== undefined) {
      await this.#away.over;
      // After the streams, which know the new connection then.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#uses += 1;
    try {
      return await call(this.#guest);
    } finally {
      this.#uses -= 1;
      if (this.#uses === 0) this.#onQuiet();
    }
  }

  /** The same for input to a command. */
  async duringInput<T>(call: () => Promise<T>): Promise<T> {
    return await this.during(async () => {
      try {
        return await call();
      } finally {
        this.#inputAt = performance.now();
      }
    });
  }

  /** A connection that works, for one who found his broken; all who ask at once get the same. */
  async reconnect(signal?: AbortSignal): Promise<GuestConnection> {
    let isRenewed = false;
    while (this.#away !== undefined) {
      await this.#away.over;
      isRenewed = true;
    }
    if (!isRenewed && !this.#isClosed)
      await within(this.#guest.closed, BROKEN_MS, "its end").catch(() => undefined);
    // Another has connected since.
    if (!this.#isClosed) return this.#guest;
    return await this.#renew(signal);
  }

  /** From now on calls wait; resolves when those that are under way have ended, or soon anyway. */
  async hush(): Promise<void> {
    let resolve: () => void = () => undefined;
    let reject: (error: Error) => void = () => undefined;
    const over = new Promise<void>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    over.catch(() => undefined);
    this.#away = { over, resolve, reject };
    if (this.#uses > 0) {
      const quiet = new Promise<void>((done) => (this.#onQuiet = done));
      await within(quiet, QUIET_MS, "the calls").catch(() => undefined);
    }
    const lingersMs = this.#inputAt + INPUT_LINGERS_MS - performance.now();
    if (lingersMs > 0) await sleep(lingersMs);
  }

  /** Leaves the line. Streams that go on by offset ask for another connection, and wait for it. */
  async hangUp(): Promise<void> {
    await this.#guest[Symbol.asyncDispose]();
  }

  /** Is on the line again, where it was left; calls still wait. */
  async comeBack(signal?: AbortSignal): Promise<GuestConnection> {
    return this.#isClosed ? await this.#renew(signal) : this.#guest;
  }

  /** Lets calls go on. */
  speak(): void {
    const away = this.#away;
    this.#away = undefined;
    away?.resolve();
  }

  /** For good; what waits is told so. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#away?.reject(
      new PyroError("GUEST_DISCONNECTED", "the machine is not there any more", {
        hint: "call again",
        retryable: true,
      }),
    );
    await this.#guest[Symbol.asyncDispose]();
  }

  async #renew(signal: AbortSignal | undefined): Promise<GuestConnection> {
    this.#reconnecting ??= (async () => {
      await this.#guest[Symbol.asyncDispose]();
      const guest = await this.connect(signal);
      this.#guest = guest;
      this.#isClosed = false;
      this.#watch(guest);
      for (const then of this.#onNewGuest) then();
      return guest;
    })().finally(() => (this.#reconnecting = undefined));
    return await this.#reconnecting;
  }

  #watch(guest: GuestConnection): void {
    void guest.closed.then(() => {
      if (this.#guest === guest) this.#isClosed = true;
    });
  }
}

/** While nobody may be on the line. */
interface Away {
  readonly over: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}
