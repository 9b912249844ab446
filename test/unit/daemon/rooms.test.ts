import { Code } from "@connectrpc/connect";
import { statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { builderVm } from "../../../src/daemon/builder-vm.js";
import { ImagesInUse } from "../../../src/daemon/images-in-use.js";
import { heldUp, lostWhilePrepared, watchMachine } from "../../../src/daemon/machine-watch.js";
import { Machines } from "../../../src/daemon/machines.js";
import { preparePrivateDirectory } from "../../../src/daemon/socket.js";
import { toConnectError } from "../../../src/daemon/wire-error.js";
import { connectGuest } from "../../../src/guest/index.js";
import { silentLogger, Slots } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import type { Machine } from "../../../src/vmm/index.js";
import { AgentRecord, fakeAgent } from "../../fakes/fake-agent.js";
import { FakeGuest } from "../../fakes/fake-guest.js";
import { FakeVmmDriver } from "../../fakes/fake-vmm.js";
import { temporaryState } from "../../fakes/state-directory.js";

describe("builderVm", () => {
  it("gives the layers in order behind the target, tells progress, and leaves no machine", async () => {
    await using state = await temporaryState();
    const record = new AgentRecord();
    await using guest = await FakeGuest.start(fakeAgent(record));
    const driver = new FakeVmmDriver({ guest: (socket) => guest.serve(socket) });
    const machines = new Machines({
      directory: join(state.path, "vms"),
      driver,
      slots: new Slots(1),
      log: silentLogger,
      connect: (socket) => connectGuest(socket),
    });
    await machines.sweep();
    const layers = ["base.tar", "more.tar"].map((name) => ({ path: join(state.path, name), sizeBytes: 512 }));
    for (const { path } of layers) await writeFile(path, "x".repeat(512));
    const progress: string[] = [];
    const output: string[] = [];
    const builder = builderVm({
      ...{ machines, log: silentLogger, isolation: () => Promise.resolve("software") },
      emptyDisk: () => Promise.resolve("none"),
    });
    const result = await builder.build({
      files: layers.map(({ path }) => path),
      layers: () => Promise.resolve(layers),
      target: join(state.path, "target.qcow2"),
      steps: [{ argv: ["/bin/sh", "finish"], env: [] }],
      onProgress: ({ phase, bytesDone }) => progress.push(`${phase} ${bytesDone}`),
      onOutput: (chunk) => output.push(Buffer.from(chunk).toString()),
    });
    expect(result).toEqual({ entryCount: 7, usedBytes: 8 });
    expect(record.calls).toEqual(["build /dev/vdb /dev/vdc onto /dev/vda", "shutdown"]);
    expect({ progress, output }).toEqual({ progress: ["unpack 1"], output: ["/bin/sh finish"] });
    expect(
      driver.started[0]?.disks.map((disk) => [disk.format, "readOnly" in disk && disk.readOnly]),
    ).toEqual([
      ["qcow2", false],
      ["raw", true],
      ["raw", true],
    ]);
    expect(machines.runningCount).toBe(0);
  });
});

describe("watchMachine", () => {
  const resume = vi.fn(() => Promise.resolve());
  const machine = (status: () => string): Machine =>
    ({
      id: "vm-1",
      exited: new Promise(() => undefined),
      status: () => Promise.resolve(status()),
      resume,
    }) as never;

  it("calls a machine lost that stays silent, and not one that was silent for a moment", async () => {
    vi.useFakeTimers();
    const answers = ["unresponsive", "running", ...Array<string>(10).fill("unresponsive")];
    const lost = watchMachine(
      machine(() => answers.shift() ?? "running"),
      new AbortController().signal,
      silentLogger,
    );
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await lost).toMatchObject({ code: "VM_UNRESPONSIVE" });
    expect(answers.length).toBe(6);
    vi.useRealTimers();
  });

  it("continues a machine that was paused for a full disk, and tells at each look what holds it up", async () => {
    vi.useFakeTimers();
    const answers = ["io-error", "io-error", "unresponsive"];
    const paused = machine(() => answers.shift() ?? "running");
    const over = new AbortController();
    const seen = vi.fn();
    void watchMachine(paused, over.signal, silentLogger, seen);
    await vi.advanceTimersByTimeAsync(9_000);
    over.abort();
    expect(resume).toHaveBeenCalledTimes(2);
    const full = ["host disk full"];
    expect(seen.mock.calls).toEqual([full, full, ["hangs"], [undefined]]);
    vi.useRealTimers();
  });

  it("says how a machine ended by itself, and nothing of one that was let go of before", async () => {
    const diagnostics = () => Promise.resolve({ consoleTail: "", stderrTail: "" });
    const exited = Promise.resolve({ code: null, signal: "SIGKILL" });
    const ended = { ...machine(() => "running"), exited, diagnostics } as Machine;
    const over = new AbortController();
    expect(await watchMachine(ended, over.signal, silentLogger)).toMatchObject({ code: "VM_CRASHED" });
    over.abort();
    const lost = watchMachine(ended, over.signal, silentLogger);
    expect(await Promise.race([lost, new Promise((resolve) => setTimeout(resolve, 20, "silent"))])).toBe(
      "silent",
    );
  });
});

describe("heldUp", () => {
  it("names a full disk where that is why nobody answered, and nothing else", () => {
    const late = new PyroError("DEADLINE_EXCEEDED", "the guest agent did not answer in time");
    expect(heldUp(late, "host disk full")).toMatchObject({ code: "DISK_FULL", retryable: true, cause: late });
    expect(heldUp(late, "hangs")).toBe(late);
    expect(heldUp(late, undefined)).toBe(late);
    const gone = new PyroError("VM_CRASHED", "gone");
    expect(heldUp(gone, "host disk full")).toBe(gone);
  });
});

describe("lostWhilePrepared", () => {
  it("names a machine whose port broke, and leaves other errors as they are", () => {
    const gone = new PyroError("GUEST_DISCONNECTED", "read ECONNRESET");
    expect(lostWhilePrepared(gone)).toMatchObject({ code: "VM_CRASHED", retryable: true, cause: gone });
    const full = new PyroError("DISK_FULL", "full");
    expect(lostWhilePrepared(full)).toBe(full);
  });
});

describe("preparePrivateDirectory", () => {
  it("tightens a directory of ours and refuses what is none", async () => {
    await using state = await temporaryState();
    const open = join(state.path, "open");
    await mkdir(open, { mode: 0o777 });
    await preparePrivateDirectory(open, 0o700);
    expect(statSync(open).mode & 0o777).toBe(0o700);
    await expect(preparePrivateDirectory("/proc/self/cwd", 0o700)).rejects.toMatchObject({
      code: "STATE_NOT_PRIVATE",
    });
  });
});

describe("ImagesInUse", () => {
  it("holds an image until the last of its holders lets go, each once", () => {
    const inUse = new ImagesInUse();
    const first = inUse.hold("sha256:a");
    const second = inUse.hold("sha256:a");
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    expect([...inUse.digests]).toEqual(["sha256:a"]);
    second[Symbol.dispose]();
    expect(inUse.digests.size).toBe(0);
  });
});

describe("toConnectError", () => {
  it("carries code, hint and details, and wraps what is no error of ours once", () => {
    const error = toConnectError(
      new PyroError("DISK_FULL", "full", { hint: "free", details: { a: 1 }, retryable: true }),
    );
    expect(error.rawMessage).toBe("full");
    expect(toConnectError(error)).toBe(error);
    expect(toConnectError(new Error("odd")).details).toHaveLength(1);
  });

  it.each([
    ["SEQUENCE_NOT_FOUND", Code.NotFound],
    ["GUEST_FILE_NOT_FOUND", Code.NotFound],
    ["EXPORT_EXISTS", Code.AlreadyExists],
    ["WORKSPACE_BUSY", Code.ResourceExhausted],
    ["WORKSPACE_STOPPED", Code.FailedPrecondition],
  ] as const)("tells callers that know nothing of ours what %s is like", (code, connectCode) => {
    expect(toConnectError(new PyroError(code, "so")).code).toBe(connectCode);
  });
});
