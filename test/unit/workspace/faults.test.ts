import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { beforeAll, describe, expect, it } from "vitest";
import { baseEnvironment, complete, silentLogger } from "../../../src/kit/index.js";
import { NO_NETWORK, Workspaces } from "../../../src/workspace/index.js";
import { FAILPOINTS, prefixOf } from "../../failpoints.js";
import { FakeWorkspaceMachines } from "../../fakes/fake-workspace-machines.js";
import { temporaryState } from "../../fakes/state-directory.js";
import { content, NEVER } from "../../fakes/workspace-host.js";
import { FakeNetworks } from "../../fakes/fake-networks.js";

let child: string;
beforeAll(async () => {
  const { outputFiles } = await build({
    entryPoints: [new URL("./workspace-child.ts", import.meta.url).pathname],
    ...{ bundle: true, platform: "node", format: "esm", target: "node20", write: false },
  });
  child = outputFiles[0]?.text ?? "";
});

describe("a daemon that is killed", () => {
  // Those of suspend and resume that are in machines are reached in test/vm/failpoints.
  const memory = ["suspend.placed", "suspend.recorded", "resume.spent"];
  const disk = FAILPOINTS.filter((name) => ["network", "snapshot", "workspace"].includes(prefixOf(name)));
  it.each([...disk, ...memory, "never"])(
    "at %s leaves what the next can finish or remove",
    async (failpoint) => {
      await using state = await temporaryState();
      await writeFile(join(state.path, "child.mjs"), child);
      await writeFile(join(state.path, "output"), "mine");
      await mkdir(join(state.path, "trees"));
      const env = { ...baseEnvironment(), PYRO_FAILPOINT: failpoint };
      const { signal } = await complete(process.execPath, [join(state.path, "child.mjs"), state.path], {
        env,
      });
      expect(signal).toBe(failpoint === "never" ? null : "SIGKILL");
      const machines = new FakeWorkspaceMachines(join(state.path, "trees"));
      await using workspaces = new Workspaces({
        directory: join(state.path, "workspaces"),
        ...{ machines, disks: machines.disks },
        networks: new FakeNetworks(),
        ...{ log: silentLogger, now: () => Date.now() },
      });
      await workspaces.load();
      workspaces.adopt();
      for (const workspace of workspaces.all) {
        await workspace.settle(10_000, NEVER);
        expect(["started", "stopped", "suspended", "failed"]).toContain(workspace.record.state);
        // Its user had begun to take its network away.
        if (prefixOf(failpoint) === "network") expect(workspace.network.policy).toEqual(NO_NETWORK);
        if (workspace.record.state !== "failed")
          expect(await content(workspace, "seeded")).toBe("as seeded\n");
        await workspaces.delete(workspace);
      }
      expect(await readdir(join(state.path, "workspaces"))).toEqual([]);
      // Whole, the old or the new, and nothing beside it.
      expect(["mine", "as seeded\n"]).toContain(await readFile(join(state.path, "output"), "utf8"));
      expect((await readdir(state.path)).sort()).toEqual(["child.mjs", "output", "trees", "workspaces"]);
    },
  );
});
