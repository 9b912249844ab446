import { describe, expect, it, vi } from "vitest";
import { InputQueue } from "../../../src/daemon/input-queue.js";

const gate = () => {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
};

describe("InputQueue", () => {
  it("writes pieces in order, says how much was taken, and ends once", async () => {
    const seen: string[] = [];
    const accepted: number[] = [];
    const queue = new InputQueue(
      {
        writeInput: (data) => {
          seen.push(Buffer.from(data).toString());
          return Promise.resolve(true);
        },
        endInput: () => {
          seen.push("END");
          return Promise.resolve();
        },
      },
      (total) => accepted.push(total),
    );
    await queue.put(Buffer.from("ab"));
    await queue.put(Buffer.from("cde"));
    queue.end();
    queue.end();
    await queue.put(Buffer.from("late"));
    await vi.waitFor(() => expect(seen).toEqual(["ab", "cde", "END"]));
    expect(accepted).toEqual([2, 5]);
  });

  it("does not hold the caller while the command is slow, until too much waits", async () => {
    const { opened, open } = gate();
    const queue = new InputQueue(
      { writeInput: () => opened.then(() => true), endInput: () => Promise.resolve() },
      () => undefined,
    );
    await queue.put(new Uint8Array(1024 * 1024));
    let drained = false;
    const full = queue.put(new Uint8Array(4 * 1024 * 1024)).then(() => (drained = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(drained).toBe(false);
    open();
    await full;
  });

  it("takes and drops what comes after the command closed its input, or the machine is gone", async () => {
    const writeInput = vi.fn(() => Promise.resolve(false));
    const endInput = vi.fn(() => Promise.resolve());
    const accepted: number[] = [];
    const queue = new InputQueue({ writeInput, endInput }, (total) => accepted.push(total));
    await queue.put(Buffer.from("one"));
    await queue.put(Buffer.from("two"));
    queue.end();
    await vi.waitFor(() => expect(accepted).toEqual([3, 6]));
    expect(writeInput).toHaveBeenCalledOnce();
    expect(endInput).not.toHaveBeenCalled();

    const broken = new InputQueue(
      { writeInput: () => Promise.reject(new Error("gone")), endInput },
      () => undefined,
    );
    await broken.put(Buffer.from("x"));
    broken.end();
    await new Promise((resolve) => setImmediate(resolve));
    expect(endInput).not.toHaveBeenCalled();
  });
});
