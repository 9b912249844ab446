import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ClockWatch } from "../../../src/workspace/clock-watch.js";
import { WorkspaceHost } from "../../fakes/workspace-host.js";

const YEAR_MS = 366 * 24 * 3600 * 1000;

describe("A clock that is watched", () => {
  it("is steady while it goes as time does, whatever its slow corrections; a step is told once", () => {
    const at = { wall: 1_000_000, passed: 0 };
    const clock = new ClockWatch(
      () => at.wall,
      () => at.passed,
    );
    const go = (passed: number, wall = passed): number => {
      at.passed += passed;
      at.wall += wall;
      return clock.look();
    };
    expect([go(1000), go(60_000), go(1000, 1900), clock.steadyMs]).toEqual([0, 0, 0, 62_000]);
    expect([go(1000, YEAR_MS), clock.steadyMs]).toEqual([YEAR_MS - 1000, 0]);
    expect([go(5000), clock.steadyMs]).toEqual([0, 5000]);
    expect([go(1000, -YEAR_MS), clock.steadyMs]).toEqual([-YEAR_MS - 1000, 0]);
  });
});

describe("When the host's clock is set", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("running guests get the new time, and no stopped workspace is deleted for an age that it never had", async () => {
    await using host = await WorkspaceHost.start();
    await host.create({ name: "running", ttlSeconds: 30 * 24 * 3600 });
    const stopped = await host.create({ name: "stopped" });
    await stopped.stop("user").result;
    host.nowMs += YEAR_MS;
    vi.advanceTimersByTime(1_000);
    await vi.waitFor(() => expect(host.machines.steps).toContain("setClock"));
    vi.advanceTimersByTime(5_000);
    expect(host.workspaces.all.map(({ record }) => record.name).sort()).toEqual(["running", "stopped"]);
    host.nowMs -= YEAR_MS;
    vi.advanceTimersByTime(30_000);
    expect(host.workspaces.all).toHaveLength(2);
  });

  it("a guest that does not take it costs nothing", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    host.machines.before = (step) => {
      if (step === "setClock") throw new Error("the fake has a clock of its own");
    };
    host.nowMs -= YEAR_MS;
    vi.advanceTimersByTime(1_000);
    await vi.waitFor(() => expect(host.machines.steps).toContain("setClock"));
    expect(workspace.record.state).toBe("started");
  });
});
