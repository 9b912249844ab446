import { execFileSync, spawnSync } from "node:child_process";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventually, leftovers, machinesOf, pyro } from "./support.js";
import { templateState } from "./template-state.js";

const isRoot = process.geteuid?.() === 0;
if (!isRoot) console.warn("skipped: a full disk is staged by a mount, which needs root; unit tests have it");

const state = templateState();
const templates = (): string => join(state.path, "cache/templates");

/** The next command works and makes the template; once the daemon is gone nothing is left of what was killed. */
async function expectRecovery(): Promise<void> {
  await expectNothingLeft();
  expect(await state.templates()).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
}

async function expectNothingLeft(): Promise<void> {
  expect(await state.run("echo", "again")).toBe("again\n");
  await pyro(["daemon", "stop"], { stateDir: state.path });
  await eventually("nothing is left", async () => (await leftovers(state.path)).length === 0);
}

describe("a QEMU that is killed while it restores", () => {
  it("costs a cold boot and no command", async () => {
    await state.run("true");
    for (const afterMs of [0, 25, 50, 75, 100, 150]) {
      const running = pyro(["run", "debian:12", "--", "echo", "fine"], { stateDir: state.path });
      await eventually("a machine starts", async () => (await machinesOf(state.path)).length > 0);
      await new Promise((resolve) => setTimeout(resolve, afterMs));
      for (const pid of await machinesOf(state.path)) process.kill(pid, "SIGKILL");
      // It may have been running the command already, or have been a cold boot that none comes after: pyro says which.
      const { code, stdout, stderr } = await running;
      if (code === 0) expect(stdout.toString()).toBe("fine\n");
      else expect(stderr).toMatch(/^(VM_CRASHED: |VM_START_FAILED: QEMU was ended by SIGKILL)/m);
    }
    // Two restores that failed, and none is tried for a minute: there may be no template now.
    await expectNothingLeft();
  });
});

describe.skipIf(!isRoot)("a full disk", () => {
  beforeEach(async () => {
    await mkdir(templates(), { mode: 0o700 });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=450m,mode=0700", "tmpfs", templates()]);
  });
  afterEach(async () => {
    await pyro(["daemon", "stop", "--force"], { stateDir: state.path });
    execFileSync("umount", ["-l", templates()]);
  });
  /** Until nothing fits any more, whoever else writes there meanwhile. */
  const fill = (): void => {
    spawnSync("dd", ["if=/dev/zero", `of=${join(templates(), "filler")}`, "bs=64k", "status=none"]);
  };

  it("before a template is made, or while it is, costs a cold boot and no command", async () => {
    fill();
    expect(await state.run("echo", "fine")).toBe("fine\n");
    expect(await readFile(join(state.path, "daemon.log"), "utf8")).toContain('"code":"DISK_FULL"');
    await pyro(["daemon", "stop"], { stateDir: state.path });
    await rm(join(templates(), "filler"));
    const running = state.run("echo", "fine");
    await eventually("a template is being made", async () =>
      (await readdir(templates())).some((name) => name.startsWith("making-")),
    );
    fill();
    expect(await running).toBe("fine\n");
    await pyro(["daemon", "stop"], { stateDir: state.path });
    await rm(join(templates(), "filler"));
    await expectRecovery();
  });

  it("where a machine is restored is named, and costs no template", async () => {
    const vms = join(state.path, "vms");
    await state.run("true");
    await pyro(["daemon", "stop"], { stateDir: state.path });
    // Its record fits, its disk does not.
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=8k,mode=0711", "tmpfs", vms]);
    try {
      const { code, stderr } = await pyro(["run", "debian:12", "--", "true"], { stateDir: state.path });
      expect([code, stderr]).toEqual([125, expect.stringMatching(/^DISK_FULL: /m)]);
      expect(await readdir(vms)).toEqual([]);
      execFileSync("mount", ["-o", "remount,size=64m", vms]);
      expect(await state.run("echo", "room")).toBe("room\n");
      await pyro(["daemon", "stop"], { stateDir: state.path });
    } finally {
      execFileSync("umount", ["-l", vms]);
    }
    const log = await readFile(join(state.path, "daemon.log"), "utf8");
    expect(log.match(/"event":"template\.\w+"/g)).toEqual(['"event":"template.made"']);
  });
});
