import { describe, expect, it } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { NO_NETWORK, runOneShot, type OneShotSpec } from "../../../src/workspace/index.js";
import { FakeSandboxes, type Script } from "../../fakes/fake-sandbox.js";

const spec: OneShotSpec = {
  ...{
    environment: "debian:12",
    argv: [Buffer.from("true")],
    command: "",
    env: [],
    vcpuCount: 1,
    memMib: 512,
  },
  ...{ noPull: false, timeoutMs: undefined, ttlMs: undefined, network: NO_NETWORK },
};
const broken: Script = async function* () {
  throw new PyroError("GUEST_DISCONNECTED", "the connection is gone");
};

/** A machine whose port is gone when its command is to start, and of which `lost` says more a moment later. */
class LostEarly extends FakeSandboxes {
  constructor(private readonly starting: Promise<never>) {
    super(broken);
  }
  override async open(...args: Parameters<FakeSandboxes["open"]>) {
    const sandbox = await super.open(...args);
    setTimeout(() => this.lose(new PyroError("VM_CRASHED", "the machine ended by itself")), 20);
    return { ...sandbox, start: () => this.starting };
  }
}

const run = (sandboxes: FakeSandboxes, signal = new AbortController().signal) =>
  runOneShot(
    sandboxes,
    spec,
    {
      ...{ openStdin: false, whenUnread: "wait" },
      ...{ onPhase: () => undefined, onOutput: () => Promise.resolve() },
    },
    signal,
  );

describe("A machine that is lost before its command has started", () => {
  it("is named by its end, not by its broken connection, and is gone", async () => {
    const starting = Promise.reject(new PyroError("GUEST_DISCONNECTED", "the connection is gone"));
    starting.catch(() => undefined);
    const sandboxes = new LostEarly(starting);
    await expect(run(sandboxes)).rejects.toMatchObject({ code: "VM_CRASHED" });
    expect(sandboxes.openNow).toBe(0);
  });

  it("does not keep its caller waiting for a start that never ends", async () => {
    const sandboxes = new LostEarly(new Promise(() => undefined));
    await expect(run(sandboxes)).rejects.toMatchObject({ code: "VM_CRASHED" });
    const left = new LostEarly(new Promise(() => undefined));
    await expect(run(left, AbortSignal.timeout(1))).rejects.toThrow();
    expect([sandboxes.openNow, left.openNow]).toEqual([0, 0]);
  });
});
