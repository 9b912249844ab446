import { afterEach, describe, expect, it, vi } from "vitest";
import { poolSize } from "../../../src/daemon/pool-size.js";
import { WarmPool, type Pooled, type WarmPoolOptions } from "../../../src/daemon/warm-pool.js";
import { silentLogger } from "../../../src/kit/index.js";

class Item implements Pooled {
  static open = 0;
  lose: () => void = () => undefined;
  readonly gone = new Promise<void>((resolve) => (this.lose = resolve));

  constructor(readonly shape: string) {
    Item.open += 1;
  }

  [Symbol.asyncDispose](): Promise<void> {
    Item.open -= 1;
    return Promise.resolve();
  }
}

describe("A warm pool", () => {
  let pool: WarmPool<string, Item> | undefined;
  let made: string[] = [];

  function open(options: Partial<WarmPoolOptions<string, Item>> = {}): WarmPool<string, Item> {
    made = [];
    pool = new WarmPool({
      nameOf: (shape: string) => shape,
      make: (shape: string) => {
        made.push(shape);
        return Promise.resolve(new Item(shape));
      },
      hasRoom: () => Promise.resolve(true),
      ...{ log: silentLogger, total: 3, refillAfterMs: 5 },
      ...options,
    });
    return pool;
  }
  function use(shape: string): Item | undefined {
    const item = pool?.take(shape);
    pool?.used(shape);
    return item;
  }
  const holds = (size: number): Promise<void> => vi.waitFor(() => expect(pool?.size).toBe(size));

  afterEach(async () => {
    await pool?.[Symbol.asyncDispose]();
    expect(Item.open).toBe(0);
  });

  it("makes one after the first use of a shape, and two after the second", async () => {
    open();
    expect(use("a")).toBeUndefined();
    await holds(1);
    await using first = use("a") as Item;
    expect(first.shape).toBe("a");
    await holds(2);
    expect(made).toEqual(["a", "a", "a"]);
  });

  it("hands each item out once", async () => {
    open();
    use("a");
    await holds(1);
    await using _first = use("a") as Item;
    expect(use("a")).toBeUndefined();
  });

  it("keeps to its bound: the shape that was used longest ago gives way", async () => {
    open({ total: 2 });
    use("a");
    use("a");
    await holds(2);
    use("b");
    await vi.waitFor(() => expect(made).toEqual(["a", "a", "b"]));
    await holds(2);
    await using _a = use("a") as Item;
    await using _b = use("b") as Item;
  });

  it("makes nothing where the host has no room, or the bound is 0", async () => {
    const hasRoom = vi.fn(() => Promise.resolve(false));
    open({ hasRoom });
    use("a");
    await vi.waitFor(() => expect(hasRoom).toHaveBeenCalled());
    expect(made).toEqual([]);
    open({ total: 0 });
    use("a");
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(made).toEqual([]);
  });

  it("lets go of an item that ended by itself", async () => {
    const pool = open();
    use("a");
    await holds(1);
    const item = use("a") as Item;
    await holds(2);
    // One that was taken is its owner's matter.
    item.lose();
    await item[Symbol.asyncDispose]();
    expect(pool.size).toBe(2);
    await pool.clear();
    const lost = new Item("a");
    open({ make: () => Promise.resolve(lost) });
    use("a");
    await holds(1);
    lost.lose();
    await holds(0);
    expect(use("a")).toBeUndefined();
  });

  it("goes on after an item could not be made", async () => {
    let failing = true;
    const warn = vi.fn();
    open({
      make: (shape) => (failing ? Promise.reject(new Error("no luck")) : Promise.resolve(new Item(shape))),
      log: { ...silentLogger, warn },
    });
    use("a");
    await vi.waitFor(() => expect(warn).toHaveBeenCalledWith("pool.not-filled", expect.anything()));
    failing = false;
    use("a");
    await holds(2);
  });

  it("ends what is being made when it is cleared or closed", async () => {
    const aborted = vi.fn();
    const make = (_: string, signal: AbortSignal): Promise<Item> =>
      new Promise((_, reject) =>
        signal.addEventListener("abort", () => {
          aborted();
          reject(signal.reason as Error);
        }),
      );
    const pool = open({ make });
    use("a");
    await holds(1);
    await pool.clear();
    expect([aborted.mock.calls.length, pool.size]).toEqual([1, 0]);
    use("a");
    await holds(1);
    await pool[Symbol.asyncDispose]();
    expect([aborted.mock.calls.length, pool.size]).toEqual([2, 0]);
    expect(use("a")).toBeUndefined();
  });

  it("loses the items of a shape that nobody uses", async () => {
    open({ idleMs: 40 });
    use("a");
    await vi.waitFor(() => expect(made).toEqual(["a"]));
    await holds(0);
    expect(Item.open).toBe(0);
  });
});

describe("The size of the pool", () => {
  afterEach(() => void vi.unstubAllEnvs());

  it.each([
    [undefined, 4],
    ["", 4],
    ["0", 0],
    ["64", 64],
  ])("is for PYRO_POOL=%s: %s", (given, size) => {
    vi.stubEnv("PYRO_POOL", given);
    expect(poolSize(undefined)).toBe(size);
  });

  it("is what the configuration says, where PYRO_POOL says nothing", () => {
    vi.stubEnv("PYRO_POOL", undefined);
    expect(poolSize(2)).toBe(2);
    vi.stubEnv("PYRO_POOL", "1");
    expect(poolSize(2)).toBe(1);
  });

  it.each(["65", "-1", "many", "1.5", "1000"])("cannot be %s", (given) => {
    vi.stubEnv("PYRO_POOL", given);
    expect(() => poolSize(undefined)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});
