import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { saveEnvironment, type EnvironmentConfig } from "../../../src/workspace/index.js";
import { beginFork } from "../../../src/workspace/forking.js";
import { startService } from "../../../src/workspace/index.js";
import { NEVER, run, WorkspaceHost } from "../../fakes/workspace-host.js";

const config: EnvironmentConfig = {
  ...{ env: [`PATH=${process.env["PATH"] ?? ""}`, "MODE=image"], user: "app", workingDir: "/srv/app" },
  ...{ entrypoint: [], cmd: [] },
};

describe("a workspace of an image", () => {
  let host: WorkspaceHost;
  let workspace: Awaited<ReturnType<WorkspaceHost["create"]>>;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
    host.machines.config = config;
    workspace = await host.create();
    // Its name stands for another image from now on.
    host.machines.config = { ...config, user: "other", env: ["MODE=other"] };
  });
  afterEach(async () => {
    await host[Symbol.asyncDispose]();
  });

  const ran = async (of = workspace): Promise<object> => {
    const output = await run(of, "echo $MODE");
    const { user, cwd, argv } = host.machines.machine.started.at(-1) ?? {};
    return { output, user, cwd, how: Buffer.from(argv?.[1] ?? []).toString() };
  };
  const expected = { output: "image\n", user: "app", cwd: "/workspace", how: "-c" };

  it("saves it with the environment, and not what its image would say by now", async () => {
    await saveEnvironment(workspace, { name: "tools:1", overwrite: false, allowSecrets: false }).result;
    expect(host.machines.environments.get("tools:1")?.config).toEqual(config);
  });

  it("keeps what the image said when it was made: over restarts, crashes, stops and resets", async () => {
    expect(await ran()).toEqual(expected);
    const again = async (): Promise<void> => {
      workspace = host.workspaces.find(workspace.id);
      expect(await ran()).toEqual(expected);
    };
    await host.restart();
    await again();
    await host.crash();
    await again();
    await workspace.stop("user").result;
    await workspace.start().result;
    await again();
    await workspace.reset("baseline").result;
    await again();
  });

  it("hands it on to its forks", async () => {
    await using brood = await beginFork(workspace, {
      ...{ count: 1, namePrefix: null, directory: host.directory },
    }).result;
    expect(brood.records.map((record) => record.config)).toEqual([config]);
  });

  it("starts services and shells likewise", async () => {
    const { supervisor, shells } = host.machines.machine;
    const service = { name: "web", argv: [], command: "serve", env: [], cwd: "", readiness: undefined };
    await startService(workspace, service, { waitMs: 0, signal: NEVER });
    expect(supervisor.specs[0]).toMatchObject({ user: "app", noLogin: true, cwd: "/workspace" });
    await workspace.shells.open({ cwd: "", cols: 0, rows: 0, argv: [] }, NEVER);
    expect(shells.opened[0]).toMatchObject({ user: "app", noLogin: true });
    expect(shells.opened[0]?.env.map((entry) => Buffer.from(entry).toString())).toContain("MODE=image");
  });
});
