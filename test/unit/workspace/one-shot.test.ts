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

const NEVER = new AbortController().signal;
const run = (sandboxes: FakeSandboxes, signal = NEVER, of = spec) =>
  runOneShot(
    sandboxes,
    of,
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

describe("A one-shot without a command", () => {
  const config = {
    ...{ env: [], user: "app", workingDir: "/srv" },
    ...{ entrypoint: ["/entry"], cmd: ["serve"] },
  };
  const done: Script = async function* () {
    return await Promise.resolve({ exitCode: 0 });
  };
  const silent = { ...spec, argv: [] };

  it("is its environment's own, as its user, where the image says", async () => {
    const sandboxes = new FakeSandboxes(done);
    sandboxes.config = config;
    await run(sandboxes, NEVER, silent);
    const [command] = sandboxes.commands;
    expect(command?.spec.argv.map((word) => Buffer.from(word).toString())).toEqual(["/entry", "serve"]);
    expect(command?.spec).toMatchObject({ user: "app", cwd: "/srv", makeCwd: true });
  });

  it("is refused before there is a machine where the environment has none", async () => {
    const sandboxes = new FakeSandboxes(done);
    await expect(run(sandboxes, NEVER, silent)).rejects.toMatchObject({ code: "COMMAND_REQUIRED" });
    expect(sandboxes.opened).toEqual([]);
  });
});
