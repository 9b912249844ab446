import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Activity } from "../../../src/daemon/activity.js";

describe("Activity", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("calls idle once nothing went on for a while", () => {
    const onIdle = vi.fn();
    using _activity = new Activity(1000, onIdle);
    vi.advanceTimersByTime(999);
    expect(onIdle).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(onIdle).toHaveBeenCalledOnce();
  });

  it("waits for the last of those that hold it, however often one is released", () => {
    const onIdle = vi.fn();
    using activity = new Activity(1000, onIdle);
    const first = activity.begin();
    const second = activity.begin();
    vi.advanceTimersByTime(5000);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    expect(activity.active).toBe(1);
    vi.advanceTimersByTime(5000);
    expect(onIdle).not.toHaveBeenCalled();
    second[Symbol.dispose]();
    vi.advanceTimersByTime(1000);
    expect(onIdle).toHaveBeenCalledOnce();
  });

  it("does not call idle while something is kept, and looks again after each idle time", () => {
    const onIdle = vi.fn();
    let waiting = 2;
    using activity = new Activity(1000, onIdle);
    activity.keepWhile(() => waiting > 0);
    vi.advanceTimersByTime(10_000);
    expect(onIdle).not.toHaveBeenCalled();
    waiting = 0;
    vi.advanceTimersByTime(1000);
    expect(onIdle).toHaveBeenCalledOnce();
    vi.advanceTimersByTime(10_000);
    expect(onIdle).toHaveBeenCalledOnce();
  });

  it("is silent after its own end", () => {
    const onIdle = vi.fn();
    new Activity(1000, onIdle)[Symbol.dispose]();
    vi.advanceTimersByTime(5000);
    expect(onIdle).not.toHaveBeenCalled();
  });
});
