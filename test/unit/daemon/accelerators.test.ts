import { chmod, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Accelerators, type AcceleratorsOptions } from "../../../src/daemon/accelerators.js";
import { silentLogger } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { hang } from "../../fakes/fake-process.js";

const NEVER = new AbortController().signal;
let directory: string;
/** Boots the probe. */
const boot = vi.fn<(request: unknown, signal: AbortSignal) => Promise<unknown>>();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pyro-accelerators-"));
  await writeFile(join(directory, "kvm"), "");
  await chmod(join(directory, "kvm"), 0o666);
  boot.mockReset();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function accelerators(): Accelerators {
  return new Accelerators({
    machines: { boot } as unknown as AcceleratorsOptions["machines"],
    driver: { capabilities: { isolations: ["kvm", "software"] } } as unknown as AcceleratorsOptions["driver"],
    bundle: () => Promise.resolve({ digest: "sha256:of-the-bundle" }),
    qemuVersion: () => Promise.resolve("7.2"),
    cacheDirectory: directory,
    log: silentLogger,
    kvmDevice: join(directory, "kvm"),
  });
}

describe("the probe of this host's accelerator", () => {
  it("is one for all who ask; who leaves does not wait for it, nor end it", async () => {
    let booted: (machine: unknown) => void = () => undefined;
    boot.mockImplementation(() => new Promise((resolve) => (booted = resolve)));
    const asked = accelerators();
    const leaving = new AbortController();
    const left = asked.verdict(leaving.signal);
    const stays = asked.verdict(NEVER);
    await vi.waitFor(() => expect(boot).toHaveBeenCalledOnce());
    leaving.abort(new Error("nobody waits any more"));
    await expect(left).rejects.toThrow("nobody waits any more");
    booted({ bootMs: 5, [Symbol.asyncDispose]: () => Promise.resolve() });
    expect(await stays).toMatchObject({ chosen: "kvm" });
    expect([asked.known, (await asked.verdict(NEVER)).chosen]).toEqual(["kvm", "kvm"]);
    expect(boot).toHaveBeenCalledOnce();
  });

  it("is made again where it failed, also when nobody waited for that", async () => {
    const full = new PyroError("DISK_FULL", "no room", { hint: "" });
    let fail: (error: unknown) => void = () => undefined;
    boot.mockImplementationOnce(() => new Promise((_, reject) => (fail = reject)));
    const asked = accelerators();
    const leaving = new AbortController();
    const left = asked.verdict(leaving.signal);
    await vi.waitFor(() => expect(boot).toHaveBeenCalledOnce());
    leaving.abort(new Error("nobody waits any more"));
    await expect(left).rejects.toThrow();
    fail(full);
    // Whoever asks before it is known to have failed is told so too.
    await expect(asked.verdict(NEVER)).rejects.toBe(full);
    boot.mockResolvedValue({ bootMs: 5, [Symbol.asyncDispose]: () => Promise.resolve() });
    expect(await asked.verdict(NEVER)).toMatchObject({ chosen: "kvm" });
  });

  it("ends with the daemon, and says nothing of the host then", async () => {
    boot.mockImplementation((_, signal) => hang(signal));
    const asked = accelerators();
    const waiting = asked.verdict(NEVER);
    await vi.waitFor(() => expect(boot).toHaveBeenCalledOnce());
    await Promise.all([
      expect(waiting).rejects.toMatchObject({ code: "DAEMON_STOPPING" }),
      asked[Symbol.asyncDispose](),
    ]);
    expect(asked.known).toBeUndefined();
    expect(await readdir(directory)).toEqual(["kvm"]);
  });
});
