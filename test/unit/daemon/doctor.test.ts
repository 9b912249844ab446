import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { diagnose, toolVersion, type Check, type DoctorSources } from "../../../src/daemon/doctor.js";
import { toolRemedy } from "../../../src/image/index.js";
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
  missingTools: () => Promise.resolve({ names: [], ...toolRemedy([], "debian") }),
  fetchesPackages: () => Promise.resolve(true),
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
        missingTools: () => Promise.resolve({ names: ["qemu-img"], ...toolRemedy(["qemu-img"], "fedora") }),
      }),
    );
    expect(report.ok).toBe(false);
    expect(check("tools")?.hint).toMatch(/^run: (sudo )?dnf install -y qemu-img$/);
    expect(check("tools")?.fix.slice(-4)).toEqual(["dnf", "install", "-y", "qemu-img"]);
  });

  it("names packages as the distribution does, and Debian's names where it is not known", async () => {
    const tools = ["qemu-img", "setpriv", "flock"];
    const packages = (distribution: Parameters<typeof toolRemedy>[1]): string[] =>
      toolRemedy(tools, distribution).install.filter(
        (word) => !/^(sudo|-.*|[\w-]+get|install|add)$/.test(word),
      );
    expect(packages("debian")).toEqual(["qemu-utils", "util-linux"]);
    expect(packages("fedora")).toEqual(["dnf", "qemu-img", "util-linux"]);
    expect(packages("suse").slice(1)).toEqual(["qemu-tools", "util-linux"]);
    expect(packages("alpine")).toEqual(["apk", "qemu-img", "setpriv", "flock"]);
    const { check } = await run(
      healthy({
        missingTools: () => Promise.resolve({ names: tools, ...toolRemedy(tools, undefined) }),
      }),
    );
    const hint = "install them: Debian has them in qemu-utils, util-linux";
    expect(check("tools")).toMatchObject({ ok: false, hint, fix: [] });
  });

  it("is content with a host without apt, and says what that means", async () => {
    const { report, check } = await run(healthy({ fetchesPackages: () => Promise.resolve(false) }));
    expect(report.ok).toBe(true);
    expect(check("tools")).toMatchObject({ ok: true, hint: "" });
    expect(check("tools")?.message).toContain("made over Debian's image of a registry");
    expect((await run(healthy())).check("tools")?.message).toBe("what makes environments is there");
  });

  it("says what is wrong with the sources that the configuration names", async () => {
    const error = new PyroError("CONFIG_INVALID", "apt_sources names nothing", { hint: "mend it" });
    const { report, check } = await run(healthy({ fetchesPackages: () => Promise.reject(error) }));
    expect(report.ok).toBe(false);
    expect(check("tools")).toMatchObject({
      ok: false,
      message: "apt_sources names nothing",
      hint: "mend it",
    });
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
