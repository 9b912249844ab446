import { spawnSync } from "node:child_process";
import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { DeadlineError, failpoint, sleep, Slots, within } from "../../../src/kit/index.js";

const never = (): Promise<never> => new Promise(() => undefined);

describe("within", () => {
  test("gives the result, or the failure", async () => {
    expect(await within(Promise.resolve(7), 1000, "it")).toBe(7);
    await expect(within(Promise.reject(new Error("no")), 1000, "it")).rejects.toThrow("no");
  });

  test("ends with what was waited for, and how long", async () => {
    const failure = await within(never(), 10, "the answer").catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DeadlineError);
    expect(failure).toMatchObject({
      what: "the answer",
      afterMs: 10,
      message: "the answer: no answer within 10 ms",
    });
  });

  test("ends with the signal's reason and leaves no listener", async () => {
    const controller = new AbortController();
    const waiting = within(never(), 1000, "it", controller.signal);
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    await expect(within(never(), 1000, "it", controller.signal)).rejects.toThrow("enough");
    expect(getEventListeners(controller.signal, "abort")).toEqual([]);
  });

  test("a late failure of what was given up is nobody's", async () => {
    let fail: (error: Error) => void = () => undefined;
    const late = new Promise<never>((_, reject) => (fail = reject));
    await expect(within(late, 5, "it")).rejects.toBeInstanceOf(DeadlineError);
    fail(new Error("late"));
    await sleep(5);
  });
});

test("sleep ends at once when it is aborted, and leaves no listener", async () => {
  const controller = new AbortController();
  await sleep(1, controller.signal);
  expect(getEventListeners(controller.signal, "abort")).toEqual([]);
  const sleeping = sleep(100_000, controller.signal);
  controller.abort(new Error("enough"));
  await expect(sleeping).rejects.toThrow("enough");
  await expect(sleep(1, controller.signal)).rejects.toThrow("enough");
});

describe("slots", () => {
  test("let as many run as there are, the rest in order of arrival", async () => {
    const slots = new Slots(2);
    const order: number[] = [];
    const held = [await slots.take(), await slots.take()];
    const waiting = [3, 4].map(async (n) => {
      const slot = await slots.take();
      order.push(n);
      return slot;
    });
    expect(slots.queued).toBe(2);
    held[1]?.[Symbol.dispose]();
    held[1]?.[Symbol.dispose]();
    await waiting[0];
    expect({ order, queued: slots.queued }).toEqual({ order: [3], queued: 1 });
    held[0]?.[Symbol.dispose]();
    for (const slot of await Promise.all(waiting)) slot[Symbol.dispose]();
    expect(order).toEqual([3, 4]);
    using _again = await slots.take();
    expect(slots.queued).toBe(0);
  });

  test("who finishes what was begun goes ahead of those who have not begun", async () => {
    const slots = new Slots(1);
    const order: string[] = [];
    const held = await slots.take();
    const enter = async (name: string, slot: Promise<Disposable>): Promise<void> => {
      using _slot = await slot;
      order.push(name);
    };
    const all = [
      enter("new", slots.take()),
      enter("first to finish", slots.takeAhead()),
      enter("second to finish", slots.takeAhead()),
    ];
    expect(slots.queued).toBe(3);
    held[Symbol.dispose]();
    await Promise.all(all);
    expect(order).toEqual(["first to finish", "second to finish", "new"]);
  });

  test("a waiter that gives up takes no slot", async () => {
    const slots = new Slots(1);
    const held = await slots.take();
    const controller = new AbortController();
    const impatient = slots.take(controller.signal);
    const patient = slots.take();
    controller.abort(new Error("enough"));
    await expect(impatient).rejects.toThrow("enough");
    held[Symbol.dispose]();
    (await patient)[Symbol.dispose]();
    await expect(slots.take(controller.signal)).rejects.toThrow("enough");
  });
});

test("a failpoint kills the process that names it, and only that", () => {
  failpoint("some.step");
  const script = `process.env.PYRO_FAILPOINT === "some.step" && process.kill(process.pid, "SIGKILL")`;
  const { signal } = spawnSync(process.execPath, ["-e", script], { env: { PYRO_FAILPOINT: "some.step" } });
  expect(signal).toBe("SIGKILL");
});
