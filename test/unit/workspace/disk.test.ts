import { execFileSync } from "node:child_process";
import { chmod, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import {
  createSnapshot,
  exportDisk,
  listDisk,
  readDisk,
  type Workspace,
} from "../../../src/workspace/index.js";
import { content, run, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
beforeEach(async () => {
  host = await WorkspaceHost.start();
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

async function stopped(): Promise<Workspace> {
  const workspace = await host.create();
  await run(workspace, "echo text > file");
  await workspace.stop("user").result;
  return workspace;
}
/** The machine is gone without a word, and the daemon too. */
async function loseAll(): Promise<void> {
  host.machines.killDaemon();
  for (const machine of host.machines.running.values()) machine.lose();
  await host.next();
}

describe("the disk of a stopped workspace", () => {
  it("is listed and read without a machine of the workspace, and that is no activity", async () => {
    const workspace = await stopped();
    const before = workspace.record.lastActivityAtMs;
    host.nowMs += 1000;
    const { entries } = await listDisk(workspace, { path: "", recursive: false, maxEntries: 100 });
    expect(entries.map(({ path }) => Buffer.from(path).toString())).toContain("/workspace/file");
    const { data, sizeBytes } = await readDisk(workspace, { path: "file", offset: 1, maxBytes: 2 });
    expect([Buffer.from(data).toString(), sizeBytes]).toEqual(["ex", 5]);
    expect([workspace.record.lastActivityAtMs, workspace.record.state]).toEqual([before, "stopped"]);
    expect(host.machines.steps.filter((step) => step === "openDisk")).toHaveLength(2);
    expect(host.machines.steps.filter((step) => step === "closeDisk")).toHaveLength(2);
  });

  it("of one that runs is refused, with what to do", async () => {
    const workspace = await host.create();
    const hint = `stop it first: \`pyro workspace stop ${workspace.id}\``;
    const list = listDisk(workspace, { path: "", recursive: false, maxEntries: 1 });
    await expect(list).rejects.toMatchObject({ code: "WORKSPACE_RUNNING", hint });
    const out = exportDisk(workspace, { outputPath: host.path("disk"), overwrite: false });
    await expect(out.result).rejects.toMatchObject({ code: "WORKSPACE_RUNNING" });
  });

  it("is exported whole or not at all, and replaces nothing unless it is told to", async () => {
    const workspace = await stopped();
    await createSnapshot(workspace, "a").result;
    const outputPath = host.path("disk");
    await writeFile(outputPath, "mine");
    const plain = exportDisk(workspace, { outputPath, overwrite: false });
    await expect(plain.result).rejects.toMatchObject({ code: "EXPORT_EXISTS" });
    expect(await readFile(outputPath, "utf8")).toBe("mine");
    const exported = await exportDisk(workspace, { outputPath, overwrite: true }).result;
    expect(exported).toEqual({ outputPath, diskFormat: "ext4", bytesWritten: 23 });
    expect(await readFile(outputPath, "utf8")).toBe("disk of 1 sealed layers");
    host.machines.before = (step) => {
      if (step === "copyDisk") throw new PyroError("DISK_FULL", "no room", { hint: "free some" });
    };
    const full = exportDisk(workspace, { outputPath: host.path("other"), overwrite: false });
    await expect(full.result).rejects.toMatchObject({ code: "DISK_FULL" });
    host.machines.before = () => undefined;
    expect((await readdir(host.path("."))).filter((name) => /other|pyro-/.test(name))).toEqual([]);
  });
});

describe("a disk that was damaged", () => {
  it("is looked for before each start, and not after a reset, which leaves nothing that could be", async () => {
    const { id } = await stopped();
    const again = (): Workspace => host.workspaces.find(id);
    const checks = (): number => host.machines.steps.filter((step) => step === "checkDisk").length;
    await again().start().result;
    expect(checks()).toBe(1);
    await loseAll();
    expect(await content(again(), "file")).toBe("text\n");
    expect(checks()).toBe(2);
    host.machines.machine.lose();
    await vi.waitFor(() => expect(again().record.state).toBe("stopped"));
    expect(await content(again(), "file")).toBe("text\n");
    expect(checks()).toBe(3);
    await again().reset().result;
    expect(checks()).toBe(3);
  });

  it("in its active layer does not start, is kept as it is, and can be reset to what is whole", async () => {
    const { id } = await stopped();
    const again = (): Workspace => host.workspaces.find(id);
    await createSnapshot(again(), "good").result;
    await again().start().result;
    await loseAll();
    await writeFile(again().paths.active, "garbage");
    for (let time = 0; time < 2; time += 1) {
      await expect(again().start().result).rejects.toMatchObject({
        code: "DISK_DAMAGED",
        message: expect.stringContaining("the fake cannot read it") as string,
        hint: expect.stringContaining(`reset ${id} --snapshot good`) as string,
      });
    }
    expect(again().record).toMatchObject({ state: "stopped", failure: { code: "DISK_DAMAGED" } });
    expect(await readFile(again().paths.active, "utf8")).toBe("garbage");
    await again().reset("good").result;
    expect([await content(again(), "file"), again().record.failure]).toEqual(["text\n", null]);
  });

  it("in a sealed layer does not start; what does not need that layer can be gone back to", async () => {
    const workspace = await stopped();
    await createSnapshot(workspace, "a").result;
    const [layer = ""] = await readdir(workspace.paths.layers);
    const path = join(workspace.paths.layers, layer);
    const whole = await readFile(path);
    await rm(path);
    await writeFile(path, whole);
    await expect(workspace.start().result).rejects.toMatchObject({
      code: "DISK_DAMAGED",
      message: expect.stringContaining("changed after it was sealed") as string,
      hint: expect.stringContaining("--snapshot baseline") as string,
    });
    await rm(path);
    await expect(workspace.start().result).rejects.toMatchObject({
      message: expect.stringContaining("its file is gone") as string,
    });
    await workspace.reset().result;
    expect(await content(workspace, "seeded")).toBe("as seeded\n");
  });

  it("in its baseline cannot be gone back from", async () => {
    const workspace = await stopped();
    await truncate(workspace.paths.baseline, 1).catch(() => undefined);
    await expect(workspace.start().result).rejects.toMatchObject({
      code: "DISK_DAMAGED",
      message: expect.stringContaining("its baseline") as string,
      hint: expect.stringContaining("disk export") as string,
    });
  });

  it("in a sealed layer that rotted shows in a start that fails", async () => {
    const workspace = await stopped();
    await createSnapshot(workspace, "a").result;
    const [layer = ""] = await readdir(workspace.paths.layers);
    const path = join(workspace.paths.layers, layer);
    const before = host.path("before");
    await writeFile(before, "");
    // Nobody wrote to it.
    execFileSync("touch", ["-r", path, before]);
    const { size } = await stat(path);
    await chmod(path, 0o600);
    await writeFile(path, "x".repeat(size));
    execFileSync("touch", ["-r", before, path]);
    host.machines.before = (step) => {
      if (step === "open") throw new PyroError("VM_START_FAILED", "QEMU exited with 1", { hint: "?" });
    };
    await expect(workspace.start().result).rejects.toMatchObject({
      ...{ code: "DISK_DAMAGED", message: expect.stringContaining("a sealed layer") as string },
      hint: expect.stringContaining("--snapshot baseline") as string,
    });
  });

  it.each([
    ["VM_START_FAILED", "garbage", "the fake cannot read it"],
    ["ENVIRONMENT_DAMAGED", undefined, "no good ext4"],
  ] as const)("shows in a start that fails with %s", async (code, bytes, reason) => {
    const workspace = await stopped();
    if (bytes !== undefined) await writeFile(workspace.paths.active, bytes);
    host.machines.before = (step) => {
      if (step === "open") throw new PyroError(code, "no good ext4", { hint: "?" });
    };
    await expect(workspace.start().result).rejects.toMatchObject({
      ...{ code: "DISK_DAMAGED", message: expect.stringContaining(reason) as string },
    });
    host.machines.before = () => undefined;
    await workspace.reset().result;
    expect(await content(workspace, "seeded")).toBe("as seeded\n");
  });
});
