import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { complete } from "../../src/kit/index.js";
import { flipByte } from "./flip-byte.js";
import { client, eventually, json, pyro } from "./support.js";
import { templateState } from "./template-state.js";

const state = templateState();

describe("A template with its environment mounted", () => {
  it.each(["memory", "state", "layer", "manifest.json"])(
    "whose %s was damaged is named, no machine starts from it, and it is made anew for who prepares",
    async (name) => {
      await pyro(["prepare"], { stateDir: state.path });
      await pyro(["daemon", "stop"], { stateDir: state.path });
      const key = await state.mounted();
      const all = await state.templates();
      flipByte(join(state.path, "cache/templates", key, name));
      expect(
        await state.run(
          "sh",
          "-c",
          "cat /etc/debian_version >/dev/null && hostname | grep -c template; echo fine",
        ),
      ).toBe("0\nfine\n");
      expect(await state.logged("template.damaged")).toMatchObject([{ key, code: "TEMPLATE_DAMAGED" }]);
      expect(await state.templates()).toEqual(all.filter((other) => other !== key));
      expect(json(await pyro(["prepare", "--json"], { stateDir: state.path }))).toMatchObject({
        reused: false,
      });
      expect(await state.run("echo", "again")).toBe("again\n");
      expect(await state.templates()).toEqual(all);
      expect(await state.logged("template.made")).toHaveLength(3);
      expect(await state.logged("template.not-restored")).toEqual([]);
    },
  );

  it("leaves nothing of its life on the disks of its machines", async () => {
    const look =
      "stat -c '%n %y %z %w' /etc/hostname /etc/machine-id /etc/hosts /workspace; cat /etc/hostname /etc/machine-id /etc/hosts; ls -A /workspace /root /tmp";
    const before = Date.now();
    await pyro(["prepare"], { stateDir: state.path });
    const made = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const text = await state.run("sh", "-c", look);
    expect(text).not.toMatch(/pyro-template|0{32}/);
    const times = [...text.matchAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+/g)].map(([time]) =>
      Date.parse(`${time.slice(0, 23)}Z`),
    );
    expect(times.length).toBeGreaterThan(7);
    expect(times.filter((time) => time >= before && time <= made + 500)).toEqual([]);
    const layer = join(state.path, "cache/templates", await state.mounted(), "layer");
    expect((await complete("qemu-img", ["check", "-q", "-f", "qcow2", layer])).code).toBe(0);
    expect(statSync(layer).size).toBeLessThan(4 * 1024 ** 2);
  });

  it("is what a workspace begins from, which lives as any other: diff, snapshot, suspend, fork, reset", async () => {
    await pyro(["prepare"], { stateDir: state.path });
    await using sdk = await client(state.path);
    const call = { timeoutMs: 120_000 };
    const { workspaceId } = await sdk.createWorkspace({ environment: "debian:12", name: "w" }, call);
    const sh = async (id: string, line: string): Promise<string> => {
      const { output, result } = await sdk.execWorkspace({ workspaceId: id, argv: ["sh", "-c", line] }, call);
      expect(result).toMatchObject({ exitCode: 0 });
      return Buffer.from(output?.stdout.data ?? []).toString();
    };
    const changes = async (id: string): Promise<string[]> =>
      (await sdk.diffWorkspace({ workspaceId: id }, call)).entries.map(({ path }) =>
        Buffer.from(path).toString(),
      );
    expect(await changes(workspaceId)).toEqual([]);
    await sh(workspaceId, "echo one > /workspace/one; echo etc > /etc/mine; echo memory > /run/mine");
    await sdk.createSnapshot({ workspaceId, snapshotName: "s" }, call);
    await sh(workspaceId, "echo two > /workspace/two");
    expect(await changes(workspaceId)).toEqual(["one", "two"]);
    const names = [await sh(workspaceId, "cat /etc/machine-id")];
    await sdk.stopWorkspace(workspaceId, { suspend: true }, call);
    await sdk.startWorkspace(workspaceId, {}, call);
    // In memory, and so only there because the machine went on from what was saved.
    expect(await sh(workspaceId, "cat /workspace/two /run/mine")).toBe("two\nmemory\n");
    const { children } = await sdk.forkWorkspace(workspaceId, {}, call);
    const child = children[0]?.workspaceId ?? "";
    expect(await sh(child, "cat /workspace/two /etc/mine /run/mine")).toBe("two\netc\nmemory\n");
    names.push(await sh(child, "cat /etc/machine-id"), await sh(workspaceId, "cat /etc/machine-id"));
    await sdk.resetWorkspace(workspaceId, { snapshot: "s" }, call);
    expect(await changes(workspaceId)).toEqual(["one"]);
    await sdk.resetWorkspace(workspaceId, {}, call);
    expect(await changes(workspaceId)).toEqual([]);
    expect(
      await sh(workspaceId, "ls -A /workspace; test ! -e /etc/mine && stat -c %a:%u:%g /workspace"),
    ).toBe("755:0:0\n");
    names.push(await sh(workspaceId, "cat /etc/machine-id"));
    expect(new Set(names).size).toBe(names.length);
    await sdk.stopWorkspace(workspaceId, {}, call);
    await sdk.startWorkspace(workspaceId, {}, call);
    expect(await sh(workspaceId, "dmesg 2>/dev/null | grep -ci 'ext4.*error' || true")).toBe("0\n");
    for (const id of [workspaceId, child]) await sdk.deleteWorkspace(id, call);
    expect(await state.logged("template.not-restored")).toEqual([]);
    expect(await state.logged("template.unavailable")).toEqual([]);
  });

  it("is made by a daemon that keeps machines ready, behind the first command, and used by those", async () => {
    const env = { PYRO_POOL: "1" };
    const pooled = async (): Promise<unknown> =>
      json(await pyro(["daemon", "status", "--json"], { stateDir: state.path }))["pooled_vms"];
    expect((await pyro(["run", "debian:12", "--", "true"], { stateDir: state.path, env })).code).toBe(0);
    expect(await state.mounted()).toBe("");
    await eventually("a machine waits", async () => (await pooled()) === 1, 60_000);
    expect(await state.mounted()).not.toBe("");
    expect(await state.run("sh", "-c", "cat /etc/hostname | cut -c1-5; ls -A /workspace")).toBe("pyro-\n");
    expect(await state.logged("template.made")).toHaveLength(2);
    expect(await state.logged("template.not-restored")).toEqual([]);
  });
});
