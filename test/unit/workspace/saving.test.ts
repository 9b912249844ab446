import { readdir } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { saveEnvironment, type Workspace } from "../../../src/workspace/index.js";
import { SecretsInContent } from "../../../src/workspace/secrets/index.js";
import { Redactor } from "../../../src/workspace/secrets/index.js";
import { run, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
beforeEach(async () => {
  host = await WorkspaceHost.start();
});
afterEach(async () => {
  await host[Symbol.asyncDispose]();
});

const SAVE = { name: "tools:1", overwrite: false, allowSecrets: false };
const SECRETS = [{ name: "TOKEN", value: Buffer.from("hunter2hunter2"), sourceKind: "value" as const }];
const layers = async ({ paths }: Workspace): Promise<number> =>
  (await readdir(paths.layers).catch(() => [])).length;

describe("an environment of a workspace", () => {
  it("is made of what a running one has written, which runs on over a layer of its own", async () => {
    const workspace = await host.create();
    await run(workspace, "echo installed > tool");
    const saved = await saveEnvironment(workspace, SAVE).result;
    expect(saved).toEqual({ name: "tools:1", digest: "sha256:saved", sizeBytes: 1000, entryCount: 10 });
    const from = host.machines.environments.get("tools:1");
    expect([from?.sealed.length, await layers(workspace)]).toEqual([0, 1]);
    // Nobody writes to it any more.
    expect(from?.active).not.toBe(workspace.paths.active);
    expect(workspace.record.state).toBe("started");
    expect(workspace.record.snapshots).toEqual([]);
    expect(await run(workspace, "cat tool")).toContain("installed");
  });

  it.each(["stop", "suspend"] as const)("is made of the disk as it stands after a %s", async (how) => {
    const workspace = await host.create();
    await workspace[how]("user").result;
    const { state } = workspace.record;
    await saveEnvironment(workspace, SAVE).result;
    expect(host.machines.environments.get("tools:1")?.active).toBe(workspace.paths.active);
    expect([workspace.record.state, await layers(workspace)]).toEqual([state, 0]);
  });

  it("replaces none of that name unasked, and is refused before the disk is touched", async () => {
    const workspace = await host.create();
    await saveEnvironment(workspace, SAVE).result;
    await expect(saveEnvironment(workspace, SAVE).result).rejects.toMatchObject({
      code: "ENVIRONMENT_EXISTS",
    });
    expect(await layers(workspace)).toBe(1);
    await saveEnvironment(workspace, { ...SAVE, overwrite: true }).result;
  });

  it("holds no secret unasked; the refusal names the files and not the secret", async () => {
    const workspace = await host.create({ secrets: SECRETS });
    await run(workspace, "echo token=hunter2hunter2 > config; echo none > other");
    const error = await saveEnvironment(workspace, SAVE).result.then(
      () => undefined,
      (thrown: unknown) => thrown as Error & { code: string; details: Record<string, unknown> },
    );
    expect(error).toMatchObject({ code: "SECRET_ON_DISK", details: { paths: ["/config"], count: 1 } });
    expect(JSON.stringify([error?.message, error?.details])).not.toContain("hunter2");
    expect(host.machines.environments.size).toBe(0);
    expect(host.machines.steps.at(-1)).toBe("letGoOfName");
    await saveEnvironment(workspace, { ...SAVE, allowSecrets: true }).result;
  });
});

describe("what is read file by file", () => {
  const found = (...parts: Parameters<SecretsInContent["push"]>[0][]): readonly string[] => {
    const secrets = new SecretsInContent(new Redactor([Buffer.from("hunter2hunter2")]));
    for (const part of parts) secrets.push(part);
    return secrets.paths;
  };
  const path = (text: string) => ({ path: Buffer.from(text) });
  const data = (text: string) => ({ data: Buffer.from(text) });

  it("is searched over the pieces of one file, never over two", () => {
    expect(found(path("a"), data("hunter2"), data("hunter2"), path("b"), data("x"))).toEqual(["/a"]);
    expect(found(path("a"), data("hunter2"), path("b"), data("hunter2"))).toEqual([]);
  });

  it("is searched in names, in the targets of links and in base64, and told once", () => {
    const base64 = Buffer.from("hunter2hunter2").toString("base64");
    expect(
      found(
        ...[path("x-hunter2hunter2"), data("hunter2hunter2"), data("hunter2hunter2")],
        { ...path("link"), linkTarget: Buffer.from("/hunter2hunter2") },
        ...[path("encoded"), data(base64)],
      ),
    ).toEqual(["/x-[REDACTED]", "/link", "/encoded"]);
  });
});
