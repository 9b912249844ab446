import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { type Pyro, type WorkspaceRecord } from "../../../src/sdk/index.js";
import { pyroOverFakes, type PyroOverFakes } from "../../fakes/pyro-over-fakes.js";

const text = (data: Uint8Array | undefined): string => Buffer.from(data ?? []).toString();

// Real workspaces over fake machines, through the daemon's service, its real wire and the SDK.
describe("files of workspaces through the SDK", () => {
  let fakes: PyroOverFakes;
  let host: PyroOverFakes["host"];
  let pyro: Pyro;
  beforeEach(async () => {
    fakes = await pyroOverFakes();
    ({ host, pyro } = fakes);
  });
  afterEach(() => fakes[Symbol.asyncDispose]());

  const environment = "debian:12";
  const seedDirectory = async (): Promise<string> => {
    const path = host.path("seed");
    await mkdir(join(path, "src"), { recursive: true });
    await writeFile(join(path, "src/app.py"), "a = 1\nb = 2\n");
    await writeFile(join(path, "README"), "read me\n");
    return path;
  };
  const seeded = async (): Promise<WorkspaceRecord> =>
    await pyro.createWorkspace({
      environment,
      name: "fix",
      source: { kind: "path", path: await seedDirectory() },
    });
  const stalled = (step: string): { go: () => void } => {
    const gate = { go: (): void => undefined };
    // Open before or after the step is reached: either way it goes on.
    const opened = new Promise<void>((resolve) => (gate.go = resolve));
    host.machines.before = (now) => (now === step ? opened : undefined);
    return gate;
  };

  it("lists, reads, writes, edits and patches files", async () => {
    const { workspaceId } = await seeded();
    const list = await pyro.listWorkspaceFiles({ workspaceId, recursive: true });
    expect(list.entries.map(({ path, artifactType }) => [path, artifactType])).toEqual([
      ["/workspace/README", "file"],
      ["/workspace/src", "directory"],
      ["/workspace/src/app.py", "file"],
    ]);
    const large = Buffer.alloc(3_000_000, "x");
    expect(await pyro.writeWorkspaceFile({ workspaceId, path: "big", content: large })).toEqual({
      path: "/workspace/big",
      bytesWritten: large.length,
    });
    expect(await pyro.readWorkspaceFile({ workspaceId, path: "big", offset: 2_999_990 })).toMatchObject({
      sizeBytes: large.length,
      truncated: false,
    });
    expect(await pyro.readWorkspaceFile({ workspaceId, path: "big" })).toMatchObject({ truncated: true });
    await expect(pyro.readWorkspaceFile({ workspaceId, path: "big", maxBytes: 0 })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    await expect(pyro.readWorkspaceFile({ workspaceId, path: "/etc/passwd" })).rejects.toMatchObject({
      code: "GUEST_FILE_REFUSED",
    });
    expect(await pyro.writeWorkspaceFile({ workspaceId, path: "empty", content: "" })).toMatchObject({
      bytesWritten: 0,
    });
    const edit = { workspaceId, path: "src/app.py", oldText: "a = 1", newText: "a = 10" };
    expect(await pyro.editWorkspaceFile(edit)).toEqual({
      path: "/workspace/src/app.py",
      replacements: 1,
      crlf: false,
      sizeBytes: 13,
    });
    await expect(pyro.editWorkspaceFile(edit)).resolves.toMatchObject({ replacements: 1 });
    const patch =
      "--- a/src/app.py\n+++ b/src/app.py\n@@ -1,2 +1,2 @@\n a = 100\n-b = 2\n+b = 20\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+new\n";
    expect(await pyro.applyWorkspacePatch({ workspaceId, patch })).toEqual({
      changed: true,
      entries: [
        { path: "new", change: "added", from: null },
        { path: "src/app.py", change: "modified", from: null },
      ],
    });
    expect(text((await pyro.readWorkspaceFile({ workspaceId, path: "src/app.py" })).data)).toBe(
      "a = 100\nb = 20\n",
    );
    const move = "diff --git a/new b/moved\nsimilarity index 100%\nrename from new\nrename to moved\n";
    expect(await pyro.applyWorkspacePatch({ workspaceId, patch: move })).toMatchObject({
      entries: [{ path: "moved", change: "renamed", from: "new" }],
    });
    await expect(pyro.applyWorkspacePatch({ workspaceId, patch })).rejects.toMatchObject({
      code: "PATCH_DOES_NOT_APPLY",
    });
    await expect(
      pyro.applyWorkspacePatch({ workspaceId, patch: patch.replaceAll("src/app.py", "src") }),
    ).rejects.toBeInstanceOf(PyroError);
  });

  it("compares with the baseline, whole and below a path, page by page", async () => {
    const { workspaceId } = await seeded();
    expect(await pyro.diffWorkspace({ workspaceId })).toMatchObject({
      changed: false,
      entries: [],
      patchBytes: 0,
      truncated: false,
    });
    await pyro.execWorkspace({
      workspaceId,
      command: "echo more >> README; echo c = 3 >> src/app.py; rm -f none; chmod 755 README",
    });
    const whole = await pyro.diffWorkspace({ workspaceId });
    expect(whole).toMatchObject({
      changed: true,
      summary: { modified: 2, insertions: 2, deletions: 0 },
      truncated: false,
    });
    expect(whole.entries.map(({ path }) => path)).toEqual(["README", "src/app.py"]);
    const pages: Uint8Array[] = [];
    for (let offset = 0; ;) {
      const page = await pyro.diffWorkspace({ workspaceId, offset, maxBytes: 50 });
      pages.push(page.patch);
      offset += page.patch.length;
      if (!page.truncated) break;
    }
    expect(pages.length).toBeGreaterThan(3);
    expect(text(Buffer.concat(pages))).toBe(text(whole.patch));
    for (const path of ["src", "/workspace/src/", "src/../src"])
      expect((await pyro.diffWorkspace({ workspaceId, path })).entries.map(({ path: name }) => name)).toEqual(
        ["src/app.py"],
      );
    await expect(pyro.diffWorkspace({ workspaceId, path: "../etc" })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    });
  });

  it("sums up what was done: commands, edits, changes, exports, what this host would run", async () => {
    const { workspaceId } = await seeded();
    await pyro.execWorkspace({
      workspaceId,
      command: "mkdir -p .vscode .git/hooks; echo '{}' > .vscode/tasks.json; exit 1",
    });
    await pyro.writeWorkspaceFile({ workspaceId, path: "notes", content: "done\n" });
    await pyro.exportWorkspace({ workspaceId, path: "notes", outputPath: host.path("notes") });
    const summary = await pyro.summarizeWorkspace(workspaceId);
    expect(summary.commands).toMatchObject([{ sequence: 1, result: { exitCode: 1 } }]);
    expect(summary.events.map(({ kind, path, detail }) => [kind, path, detail])).toEqual([
      ["file_write", "/workspace/notes", ""],
      ["export", "/workspace/notes", host.path("notes")],
    ]);
    expect(summary.changes).toMatchObject({ modified: 0, deleted: 0 });
    expect(summary.changedFiles.map(({ path }) => path)).toContain("notes");
    expect(summary.hostExecutablePaths.map(({ path }) => path)).toEqual([".vscode/tasks.json"]);
    await writeFile(
      host.workspaces.find(workspaceId).paths.history,
      '{"at_ms":1,"kind":"patch","path":"a"}\n{"at_ms":2,"ki',
    );
    expect((await pyro.summarizeWorkspace(workspaceId)).events).toMatchObject([
      { kind: "patch", path: "a", detail: "" },
    ]);
  });

  it("pushes files into it, which starts one that stopped by itself; a push that fails half way names reset", async () => {
    const { workspaceId } = await seeded();
    await mkdir(host.path("more"));
    await writeFile(host.path("more/README"), "pushed\n");
    await host.workspaces.find(workspaceId).stop("ttl").result;
    const pushed = await pyro.pushWorkspaceSync({ workspaceId, sourcePath: host.path("more"), dest: "docs" });
    expect(pushed).toMatchObject({
      workspaceId,
      workspaceSync: { mode: "directory", destination: "/workspace/docs", bytesWritten: 7 },
    });
    expect(text((await pyro.readWorkspaceFile({ workspaceId, path: "docs/README" })).data)).toBe("pushed\n");
    host.machines.before = (step) => {
      if (step === "extract.chunk")
        throw new PyroError("GUEST_DISK_FULL", "no room in the guest", { hint: "delete some" });
    };
    await expect(
      pyro.pushWorkspaceSync({ workspaceId, sourcePath: host.path("more") }),
    ).rejects.toMatchObject({
      code: "GUEST_DISK_FULL",
      hint: expect.stringMatching(/^delete some; .*pyro workspace reset/) as string,
    });
    const gate = stalled("extract");
    expect(
      (await pyro.pushWorkspaceSync({ workspaceId, sourcePath: host.path("more"), waitMs: 1 })).workspaceSync,
    ).toBeNull();
    gate.go();
    const { operation } = await pyro.statusWorkspace(workspaceId, { waitMs: 10_000 });
    expect(operation).toMatchObject({
      ...{ kind: "sync_push", state: "done", error: null },
      result: { mode: "directory", destination: "/workspace", bytesWritten: 7, warnings: [] },
    });
  });

  it("exports; what goes on when the caller does not wait is null, and status tells what came of it", async () => {
    const { workspaceId } = await seeded();
    const gate = stalled("list");
    const outputPath = host.path("out");
    expect(await pyro.exportWorkspace({ workspaceId, path: "src", outputPath, waitMs: 1 })).toBeNull();
    gate.go();
    const done = await pyro.statusWorkspace(workspaceId, { waitMs: 10_000 });
    expect(done.operation).toMatchObject({
      ...{ kind: "export", state: "done", error: null },
      result: { workspacePath: "/workspace/src", outputPath, artifactType: "directory", bytesWritten: 12 },
    });
    host.machines.before = () => undefined;
    await expect(pyro.exportWorkspace({ workspaceId, path: "src", outputPath })).rejects.toMatchObject({
      code: "EXPORT_EXISTS",
    });
    const { workspace } = await pyro.summarizeWorkspace(workspaceId);
    expect(workspace.operation).toMatchObject({
      ...{ kind: "export", state: "failed", result: null },
      error: { code: "EXPORT_EXISTS" },
    });
    expect(
      await pyro.exportWorkspace({ workspaceId, path: "src", outputPath, overwrite: true }),
    ).toMatchObject({
      ...{
        workspacePath: "/workspace/src",
        outputPath,
        artifactType: "directory",
        bytesWritten: 12,
        warnings: [],
      },
    });
  });
});
