import { failpoint, type Logger } from "../kit/index.js";
import { PyroError } from "../protocol/index.js";

/** What waits in a pool. Disposing of it leaves nothing. */
export interface Pooled extends AsyncDisposable {
  /** Resolves when it ended by itself and is of no use any more. Never rejects. */
  readonly gone: Promise<unknown>;
}

export interface WarmPoolOptions<Shape, Item extends Pooled> {
  /** Equal for shapes whose items may stand for each other. */
  readonly nameOf: (shape: Shape) => string;
  /** Makes one item, at rest. Leaves nothing when it rejects. */
  readonly make: (shape: Shape, signal: AbortSignal) => Promise<Item>;
  /** Whether the host has memory for one more of the shape. */
  readonly hasRoom: (shape: Shape) => Promise<boolean>;
  readonly log: Logger;
  /** Most items in all; 0: no pool. */
  readonly total: number;
  /** Default: REFILL_AFTER_MS and IDLE_MS. */
  readonly refillAfterMs?: number;
  readonly idleMs?: number;
}

/** Of one shape: the second use of it says that more will come. */
const PER_SHAPE = 2;
/** Who took one uses the processors now; the next is made when nobody else came for so long. */
const REFILL_AFTER_MS = 500;
/**
 * A shape that nobody asked for in this time has no items any more. They keep the daemon (compose.ts), so this is also
 * how long it outlives its last use: as long as somebody thinks between two commands.
 */
const IDLE_MS = 10 * 60_000;

interface Shelf<Shape, Item> {
  readonly shape: Shape;
  readonly items: Item[];
  /** Since the shelf is there. */
  uses: number;
  usedAt: number;
}

/**
 * Items made ahead for the shapes that were asked for lately. Each is handed out once. One is made at a time, in the
 * background; an item that ends by itself leaves; a shape without use loses its items.
 */
export class WarmPool<Shape, Item extends Pooled> implements AsyncDisposable {
  readonly #shelves = new Map<string, Shelf<Shape, Item>>();
  readonly #stop = new AbortController();
  /** Aborts the item that is being made. */
  #making: AbortController | undefined;
  #refill: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #work: Promise<void> | undefined;

  constructor(private readonly options: WarmPoolOptions<Shape, Item>) {}

  /** Items that wait, and the one that is being made. */
  get size(): number {
    return this.waiting + (this.#making === undefined ? 0 : 1);
  }

  get waiting(): number {
    return [...this.#shelves.values()].reduce((sum, { items }) => sum + items.length, 0);
  }

  /** An item of the shape, now the caller's own; undefined where none waits. */
  take(shape: Shape): Item | undefined {
    return this.#shelves.get(this.options.nameOf(shape))?.items.shift();
  }

  /** Says that the shape is in use now, by an item of the pool or another: more of it will be made when it is quiet. */
  used(shape: Shape): void {
    if (this.options.total === 0 || this.#stop.signal.aborted) return;
    const name = this.options.nameOf(shape);
    const shelf = this.#shelves.get(name) ?? { shape, items: [], uses: 0, usedAt: 0 };
    // The latest used stands last.
    this.#shelves.delete(name);
    this.#shelves.set(name, shelf);
    shelf.uses += 1;
    shelf.usedAt = performance.now();
    this.#schedule();
  }

  /** Ends all that waits or is being made; what is used from now on is made again. */
  async clear(): Promise<void> {
    clearTimeout(this.#refill);
    const items = [...this.#shelves.values()].flatMap((shelf) => shelf.items.splice(0));
    this.#shelves.clear();
    this.#making?.abort(new Error("the pool was cleared"));
    await Promise.allSettled([...items.map((item) => item[Symbol.asyncDispose]()), this.#work]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#idle);
    await this.clear();
  }

  #schedule(): void {
    const { refillAfterMs = REFILL_AFTER_MS, idleMs = IDLE_MS } = this.options;
    clearTimeout(this.#refill);
    this.#refill = setTimeout(() => void (this.#work ??= this.#fill()), refillAfterMs);
    this.#idle ??= setTimeout(() => void this.#drainIdle(), idleMs).unref();
  }

  async #fill(): Promise<void> {
    try {
      for (let shelf = this.#nextToFill(); shelf !== undefined; shelf = this.#nextToFill()) {
        if (!(await this.options.hasRoom(shelf.shape))) break;
        await this.#makeOne(shelf);
      }
    } catch (thrown) {
      const { code, message } = PyroError.from(thrown);
      // Whoever comes next starts without the pool, and meets what is wrong, if it still is.
      if (!this.#stop.signal.aborted) this.options.log.warn("pool.not-filled", { code, reason: message });
    } finally {
      this.#work = undefined;
    }
  }

  /** The latest used shape that lacks one; another one's item makes room for it. */
  #nextToFill(): Shelf<Shape, Item> | undefined {
    if (this.#stop.signal.aborted) return undefined;
    const latestFirst = [...this.#shelves.values()].reverse();
    const shelf = latestFirst.find(({ items, uses }) => items.length < Math.min(uses, PER_SHAPE));
    if (shelf === undefined || this.waiting < this.options.total) return shelf;
    const oldest = latestFirst.reverse().find(({ items }) => items.length > 0);
    if (oldest === undefined || oldest.usedAt >= shelf.usedAt) return undefined;
    void this.#end(oldest.items.shift());
    return shelf;
  }

  async #makeOne(shelf: Shelf<Shape, Item>): Promise<void> {
    const making = new AbortController();
    this.#making = making;
    try {
      failpoint("pool.making");
      const item = await this.options.make(shelf.shape, making.signal);
      // Its shelf may have been given up meanwhile.
      if (making.signal.aborted || this.#shelves.get(this.options.nameOf(shelf.shape)) !== shelf) {
        await this.#end(item);
        return;
      }
      failpoint("pool.made");
      shelf.items.push(item);
      void item.gone.then(() => {
        this.#drop(shelf, item);
      });
    } catch (error) {
      if (!making.signal.aborted) throw error;
    } finally {
      this.#making = undefined;
    }
  }

  /** One that ended while it waited. */
  #drop(shelf: Shelf<Shape, Item>, item: Item): void {
    const index = shelf.items.indexOf(item);
    if (index < 0) return;
    shelf.items.splice(index, 1);
    this.options.log.warn("pool.lost", { shape: this.options.nameOf(shelf.shape) });
    void this.#end(item);
  }

  async #drainIdle(): Promise<void> {
    this.#idle = undefined;
    const { idleMs = IDLE_MS, log } = this.options;
    for (const [name, { items, usedAt }] of this.#shelves) {
      const restMs = usedAt + idleMs - performance.now();
      if (restMs > 0) {
        // The first of those that stay is the next to go.
        this.#idle ??= setTimeout(() => void this.#drainIdle(), restMs + 1).unref();
        continue;
      }
      this.#shelves.delete(name);
      log.info("pool.drained", { shape: name, items: items.length });
      await Promise.all(items.splice(0).map((item) => this.#end(item)));
    }
  }

  async #end(item: Item | undefined): Promise<void> {
    try {
      await item?.[Symbol.asyncDispose]();
    } catch (error) {
      this.options.log.error("pool.end", { error: PyroError.from(error).message });
    }
  }
}
