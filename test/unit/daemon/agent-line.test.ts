import { describe, expect, it } from "vitest";
import { AgentLine } from "../../../src/daemon/agent-line.js";
import type { GuestConnection } from "../../../src/guest/index.js";

/** A connection that only opens and closes. */
function connection(): GuestConnection {
  let close: (reason: undefined) => void = () => undefined;
  const closed = new Promise<undefined>((resolve) => (close = resolve));
  const dispose = (): Promise<void> => {
    close(undefined);
    return Promise.resolve();
  };
  return { closed, [Symbol.asyncDispose]: dispose } as unknown as GuestConnection;
}

function line(): { line: AgentLine; made: GuestConnection[] } {
  const made: GuestConnection[] = [];
  const connect = (): Promise<GuestConnection> => {
    const fresh = connection();
    made.push(fresh);
    return Promise.resolve(fresh);
  };
  return { line: new AgentLine(connection(), connect), made };
}

describe("the line to an agent", () => {
  it("is made anew once for all who found it broken, and not while it works", async () => {
    const { line: agent, made } = line();
    await agent.guest[Symbol.asyncDispose]();
    const [first, second] = await Promise.all([agent.reconnect(), agent.reconnect()]);
    expect([first === second, made.length]).toEqual([true, 1]);
    expect(await agent.reconnect()).toBe(first);
    await agent[Symbol.asyncDispose]();
  });

  it("is left when what is under way has ended; calls and reconnects wait until somebody is back", async () => {
    const { line: agent, made } = line();
    const steps: string[] = [];
    let finish: () => void = () => undefined;
    const call = agent.during(() => new Promise<void>((resolve) => (finish = resolve)));
    const hushed = agent.hush().then(() => steps.push("hushed"));
    const later = agent.during(() => Promise.resolve(steps.push("called")));
    steps.push("finish");
    finish();
    await Promise.all([call, hushed]);
    await agent.hangUp();
    const reconnected = agent.reconnect().then(() => steps.push("reconnected"));
    await agent.comeBack();
    steps.push("speak");
    agent.speak();
    await Promise.all([later, reconnected]);
    expect(steps).toEqual(["finish", "hushed", "speak", "reconnected", "called"]);
    expect(made).toHaveLength(1);
    await agent[Symbol.asyncDispose]();
  });

  it("tells those that wait when it is over for good", async () => {
    const { line: agent } = line();
    await agent.hush();
    const call = agent.during(() => Promise.resolve());
    await agent[Symbol.asyncDispose]();
    await expect(call).rejects.toMatchObject({ code: "GUEST_DISCONNECTED" });
  });
});
