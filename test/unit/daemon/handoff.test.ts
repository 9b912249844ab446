import { describe, expect, it } from "vitest";
import { Handoff } from "../../../src/daemon/handoff.js";

const collect = async <T>(handoff: Handoff<T>): Promise<T[]> => {
  const seen: T[] = [];
  for await (const value of handoff) seen.push(value);
  return seen;
};

describe("Handoff", () => {
  it("gives values in order and ends after the last", async () => {
    const handoff = new Handoff<number>();
    void handoff.put(1);
    void handoff.put(2);
    handoff.end(3);
    expect(await collect(handoff)).toEqual([1, 2, 3]);
  });

  it("holds the producer back until its value was taken", async () => {
    const handoff = new Handoff<number>();
    let taken = false;
    void handoff.put(1).then(() => (taken = true));
    const reader = handoff[Symbol.asyncIterator]();
    await reader.next();
    expect(taken).toBe(false);
    const second = reader.next();
    handoff.end(2);
    await second;
    expect(taken).toBe(true);
  });

  it("wakes a consumer that waits", async () => {
    const handoff = new Handoff<string>();
    const all = collect(handoff);
    await Promise.resolve();
    handoff.end("late");
    expect(await all).toEqual(["late"]);
  });

  it("throws the producer's error after what came before it", async () => {
    const handoff = new Handoff<number>();
    void handoff.put(1);
    handoff.fail(new Error("broken"));
    const seen: number[] = [];
    await expect(
      (async () => {
        for await (const value of handoff) seen.push(value);
      })(),
    ).rejects.toThrow("broken");
    expect(seen).toEqual([1]);
  });
});
