import { describe, expect, it, vi } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { CommandOutput } from "../../../src/workspace/command-output.js";
import { WorkspaceHost, run, start, written } from "../../fakes/workspace-host.js";

const full = (): Promise<never> =>
  Promise.reject(Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }));

describe("while the host's disk is full", () => {
  it("a command waits with its output, and nothing is lost or doubled once there is room", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const store = vi.spyOn(CommandOutput.prototype, "store").mockImplementationOnce(full);
    const command = await start(workspace, "echo one; echo two >&2; exit 5");
    await command.done;
    expect(command.facts.exit).toMatchObject({ exitCode: 5 });
    expect((await written(command)).split("\n").sort()).toEqual(["", "one", "two"]);
    expect(store.mock.calls.length).toBeGreaterThan(2);
    store.mockRestore();
  });

  it("a command that ended is known to have, and forgotten by its machine only when that is recorded", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const files = await import("../../../src/kit/files.js");
    expect(files).toBeDefined();
    const command = await start(workspace, "read x; exit 6", { openStdin: true });
    const save = vi.spyOn(command.output, Symbol.asyncDispose).mockImplementationOnce(full);
    await command.live?.endInput();
    await command.done;
    expect(command.facts.exit).toMatchObject({ exitCode: 6 });
    await vi.waitFor(() => expect(host.machines.steps).toContain("forget"), 5_000);
    save.mockRestore();
  });

  it("a workspace is deleted all the same, with what runs in it", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const command = await start(workspace, "sleep 60");
    const store = vi.spyOn(CommandOutput.prototype, "store").mockImplementation(full);
    vi.spyOn(command.output, Symbol.asyncDispose).mockImplementationOnce(full);
    await host.workspaces.delete(workspace);
    store.mockRestore();
    expect([await host.left(), host.machines.running.size, command.isRunning]).toEqual([[], 0, false]);
  });

  it("any other failure of its output ends the command's record, and says why", async () => {
    await using host = await WorkspaceHost.start();
    const workspace = await host.create();
    const store = vi
      .spyOn(CommandOutput.prototype, "store")
      .mockRejectedValueOnce(new PyroError("INTERNAL", "the disk is on fire"));
    const command = await start(workspace, "echo out");
    await command.done;
    store.mockRestore();
    expect(command.facts.interrupted).toBe("the disk is on fire");
    expect(await run(workspace, "echo next")).toBe("next\n");
  });
});
