import { describe, expect, test } from "vitest";
import { cli } from "../../fakes/cli-host.js";
import { buildFakeDaemonProgram } from "../../fakes/fake-daemon-program.js";
import { temporaryState } from "../../fakes/state-directory.js";
import { pyro } from "../../fakes/cli-with-daemon.js";

describe("doctor", () => {
  test("shows each check with its hint, and exits 1 when something needs mending", async () => {
    const { status, stdout } = await pyro(["doctor"]);
    expect(status).toBe(1);
    expect(stdout.split("\n").slice(0, 3)).toEqual([
      "ok    qemu: QEMU 7.2",
      "FAIL  disk: 1 GB is free",
      "      hint: free some",
    ]);
    expect(stdout).toMatch(/^ {6}project source: \S/m);
  });

  test("--json carries the contract's fields", async () => {
    const { stdout, stderr } = await pyro(["doctor", "--json", "--environment", "debian:12-build"]);
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({
      ok: false,
      platform: "linux-x64",
      accelerators: [
        { name: "kvm", usable: false, reason: "/dev/kvm cannot be opened", boot_ms: null, chosen: false },
        { name: "software", usable: true, reason: "its probe VM booted", boot_ms: 2800, chosen: true },
      ],
      kvm: { usable: false, reason: "/dev/kvm cannot be opened" },
      runtime: { version: "0.1.0", qemu_version: "7.2" },
      disk: { free_bytes: 1_000_000_000 },
      memory: { available_bytes: 2_000_000_000 },
      environment: { name: "debian:12-build", readiness: "cold" },
      // Of the working directory, which is this checkout, or a copy of it without Git.
      project_source: expect.stringMatching(/^(\/.+ \(Git checkout, |none, )/) as string,
      checks: [
        { name: "qemu", ok: true, message: "QEMU 7.2", hint: "", fix: [] },
        { name: "disk", ok: false, message: "1 GB is free", hint: "free some", fix: ["true", "mend-it"] },
      ],
    });
  });

  test("--fix shows the command, asks, runs it and proves the check again", async () => {
    const refused = await pyro(["doctor", "--fix"]);
    expect(refused.stderr).toContain("fix: true mend-it");
    expect(refused.calls.filter((name) => name === "Diagnose")).toHaveLength(1);
    const agreed = await pyro(["doctor", "--fix"], { confirm: true });
    expect(agreed.calls.filter((name) => name === "Diagnose")).toHaveLength(2);
    const unasked = await pyro(["doctor", "--fix", "--yes"]);
    expect(unasked.calls.filter((name) => name === "Diagnose")).toHaveLength(2);
  });

  test("a host whose daemon does not start gets the reason as the failed check", async () => {
    await using fake = await buildFakeDaemonProgram();
    await using state = await temporaryState();
    const ended = await cli(["--state-dir", state.path, "doctor"], { daemonProgram: fake.program("refuse") });
    expect(ended.status).toBe(1);
    expect(ended.stdout).toContain("FAIL  daemon: QEMU_NOT_FOUND: no qemu here");
  });
});
