import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { diagnose, toolVersion, type Check, type DoctorSources } from "../../../src/daemon/doctor.js";
import { installToolsCommand } from "../../../src/image/index.js";
import { PyroError } from "../../../src/protocol/index.js";

const healthy = (changes: Partial<DoctorSources> = {}): DoctorSources => ({
  directories: { state: tmpdir(), cache: tmpdir(), config: tmpdir() },
  configuration: { path: join(tmpdir(), "no-such-config.toml"), found: false, settings: {} },
  qemuVersion: () => Promise.resolve("7.2.0"),
  runtimeVersion: () => Promise.resolve("0.1.0"),
  probeAccelerators: () =>
    Promise.resolve([
      { name: "kvm", usable: false, reason: "the probe machine hung", bootMs: 0, chosen: false },
      { name: "software", usable: true, reason: "", bootMs: 2345, chosen: true },
    ]),
  missingTools: () => Promise.resolve({ names: [], install: [] }),
  network: () => Promise.resolve("connections go out directly"),
  environment: () => Promise.resolve({ installed: true, downloadBytes: 90e6, readiness: "warm" }),
  ...changes,
});

const run = async (sources: DoctorSources) => {
  const told: Check[] = [];
  const report = await diagnose(
    "debian:12",
    sources,
    (check) => told.push(check),
    new AbortController().signal,
  );
  expect(told).toEqual(report.checks);
  return { report, check: (name: string) => report.checks.find((check) => check.name === name) };
};

describe("diagnose", () => {
  it("finds a host without hardware help in order, and says which accelerator works and why the other does not", async () => {
    const { report, check } = await run(healthy());
    expect(report.ok).toBe(true);
    expect(check("accelerator software")?.message).toMatch(/works.*2345 ms.*chosen/);
    expect(check("accelerator kvm")).toMatchObject({
      ok: true,
      message: "is not used: the probe machine hung",
    });
    expect(report.readiness).toBe("warm");
    expect(check("environment")?.message).toBe(
      "debian:12 is here and whole; its machines start from a memory template",
    );
  });

  it("names the install command when QEMU is missing, and probes nothing then", async () => {
    const { report, check } = await run(
      healthy({
        qemuVersion: () =>
          Promise.reject(
            new PyroError("QEMU_NOT_FOUND", "no qemu", {
              hint: "apt",
              details: { fix: ["apt-get", "install"] },
            }),
          ),
      }),
    );
    expect(report).toMatchObject({ ok: false, accelerators: [], qemuVersion: "" });
    expect(check("qemu")).toMatchObject({ ok: false, hint: "apt", fix: ["apt-get", "install"] });
  });

  it("fails when no accelerator works", async () => {
    const none = healthy({
      probeAccelerators: () => Promise.reject(new PyroError("NO_ACCELERATOR", "none")),
    });
    expect((await run(none)).check("accelerator")).toMatchObject({ ok: false, message: "none" });
  });

  it("lists missing tools with the command that installs them", async () => {
    const { report, check } = await run(
      healthy({
        missingTools: () =>
          Promise.resolve({ names: ["mke2fs"], install: ["apt-get", "install", "e2fsprogs"] }),
      }),
    );
    expect(report.ok).toBe(false);
    expect(check("tools")?.hint).toBe("run: apt-get install e2fsprogs");
  });

  it("says what environments need where no command of this distribution brings it", async () => {
    expect(installToolsCommand(["apt", "dpkg"], "fedora")).toEqual([]);
    expect(installToolsCommand(["uidmap"], "debian").slice(-5)).toEqual([
      ...["apt-get", "install", "-y", "--no-install-recommends", "uidmap"],
    ]);
    const { check } = await run(
      healthy({ missingTools: () => Promise.resolve({ names: ["apt-get"], install: [] }) }),
    );
    expect(check("tools")).toMatchObject({ ok: false, fix: [] });
    expect(check("tools")?.hint).toContain("Debian packages, with apt");
  });

  it("tells a damaged environment from one that is not here yet", async () => {
    const absent = healthy({
      environment: () => Promise.resolve({ installed: false, downloadBytes: 90e6, readiness: "cold" }),
    });
    const missing = await run(absent);
    expect(missing.check("environment")).toMatchObject({ ok: true });
    expect(missing.report.readiness).toBe("cold");
    const damaged = healthy({
      environment: () => Promise.reject(new PyroError("ENVIRONMENT_DAMAGED", "flipped")),
    });
    const { report } = await run(damaged);
    expect(report).toMatchObject({ ok: false, readiness: "stale" });
  });
});

describe("toolVersion", () => {
  it("reads the number a program prints, and names a program that is not there", async () => {
    expect(await toolVersion("git")).toMatch(/^\d+\.\d+/);
    await expect(toolVersion("no-such-program-here")).rejects.toMatchObject({ code: "HOST_TOOL_NOT_FOUND" });
  });
});
