import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { Manifest, type ManifestInit, type SandboxSessionLike } from "@openai/agents/sandbox";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  agentTools,
  PyroSandboxClient,
  type PyroSandboxSession,
} from "../../../src/integrations/openai-agents.js";
import { createTools } from "../../../src/mcp/index.js";
import type { Pyro } from "../../../src/sdk/index.js";
import { pyroOverFakes, type PyroOverFakes } from "../../fakes/pyro-over-fakes.js";

// Real workspaces over fake machines, through the real wire and the SDK's own classes.
describe("the sandbox of the OpenAI Agents SDK", () => {
  let fakes: PyroOverFakes;
  let served: PyroOverFakes["served"];
  let pyro: Pyro;
  let client: PyroSandboxClient;
  beforeEach(async () => {
    fakes = await pyroOverFakes();
    ({ served, pyro } = fakes);
    client = new PyroSandboxClient(pyro, { labels: { by: "agents" } });
  });
  afterEach(() => fakes[Symbol.asyncDispose]());
  const read = async (session: PyroSandboxSession, path: string): Promise<string> =>
    Buffer.from(await session.readFile({ path })).toString();
  const failure = (body: Promise<unknown>): Promise<unknown> =>
    body.then(
      () => new Error("it did not fail"),
      (error: unknown) => error,
    );

  it("is a workspace with the manifest's files and variables, and ends with its session", async () => {
    const local = await mkdtemp(join(process.cwd(), "node_modules/.cache/pyro-agents-"));
    try {
      await mkdir(join(local, "lib"));
      await writeFile(join(local, "lib/a.txt"), "local\n");
      const session = await client.create({
        manifest: {
          entries: {
            "app.py": { type: "file", content: "print(1)\n" },
            docs: {
              type: "dir",
              children: { empty: { type: "dir" }, "b.txt": { type: "file", content: "b" } },
            },
            lib: { type: "local_dir", src: relative(process.cwd(), join(local, "lib")) },
            "one.txt": { type: "local_file", src: join(local, "lib/a.txt") },
          },
          environment: { WORD: "hello" },
        },
      });
      const { workspaceId } = session.state;
      expect(await pyro.statusWorkspace(workspaceId)).toMatchObject({
        environment: "debian:12",
        labels: { by: "agents" },
      });
      expect([await read(session, "docs/b.txt"), await read(session, "lib/a.txt")]).toEqual(["b", "local\n"]);
      expect(await read(session, "/workspace/one.txt")).toBe("local\n");
      expect(await session.exec({ cmd: "echo $WORD; echo e >&2; exit 3" })).toMatchObject({
        ...{
          stdout: "hello\n",
          stderr: "e\n",
          exitCode: 3,
          output: expect.stringContaining("hello\n") as string,
        },
      });
      expect(await session.listDir({ path: "docs" })).toEqual([
        { name: "b.txt", path: "docs/b.txt", type: "file" },
        { name: "empty", path: "docs/empty", type: "dir" },
      ]);
      expect(
        await Promise.all(["docs", "app.py", "none"].map((path) => session.directoryExists(path))),
      ).toEqual([true, false, false]);
      expect(await Promise.all(["docs", "app.py", "none"].map((path) => session.pathExists(path)))).toEqual([
        true,
        true,
        false,
      ]);
      expect(await session.running()).toBe(true);
      await session.delete();
      await session.close();
      expect(await pyro.listWorkspaces()).toEqual([]);
    } finally {
      await rm(local, { recursive: true });
    }
  });

  it("can be a workspace that is there, which stays, and takes more of a manifest", async () => {
    const { workspaceId } = await pyro.createWorkspace({ environment: "debian:12", name: "mine" });
    const session: SandboxSessionLike = await client.open("mine");
    await session.materializeEntry?.({ path: "a", entry: { type: "file", content: "a" } });
    await session.applyManifest?.(
      new Manifest({ entries: { b: { type: "file", content: "b" } }, environment: { W: "w" } }),
    );
    expect(await session.execCommand?.({ cmd: "cat a b; echo $W" })).toMatch(
      /^Wall time: [\d.]+ seconds\nProcess exited with code 0\nOutput:\nabw\n$/,
    );
    await session.close?.();
    expect((await pyro.listWorkspaces()).map((record) => record.workspaceId)).toEqual([workspaceId]);
    await client.delete({ ...(await client.open("mine")).state });
    expect(await pyro.listWorkspaces()).toEqual([]);
    expect(await failure(client.open("mine"))).toMatchObject({ code: "WORKSPACE_NOT_FOUND" });
  });

  it.each<[string, ManifestInit, string]>([
    ["a mount", { entries: { data: { type: "s3_mount", bucket: "b" } } }, "data: a mount"],
    ["a repository", { entries: { r: { type: "git_repo", repo: "a/b" } } }, "r: a repository"],
    ["another root", { root: "/home/me" }, "the root /home/me"],
    ["groups", { groups: [{ name: "staff" }] }, "groups"],
    [
      "permissions",
      { entries: { a: { type: "dir", children: { b: { type: "file", content: "", permissions: 0o600 } } } } },
      "a/b: permissions",
    ],
    ["the host's paths", { extraPathGrants: [{ path: "/etc" }] }, "a path of the host"],
  ])("refuses %s before it makes anything", async (_, manifest, words) => {
    const error = await failure(client.create({ manifest }));
    expect(error).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(words) as string,
    });
    expect((error as { hint: string }).hint).not.toBe("");
    expect(await pyro.listWorkspaces()).toEqual([]);
  });

  it("refuses files outside of the working directory and other people's snapshots, and leaves nothing", async () => {
    const entries = { a: { type: "local_file", src: "/etc/passwd" } } as const;
    expect(await failure(client.create({ manifest: { entries } }))).toMatchObject({
      code: "HOST_PATH_NOT_ALLOWED",
    });
    expect(await failure(client.create({ snapshot: { type: "remote" } }))).toMatchObject({
      code: "INVALID_ARGUMENT",
    });
    // Only found out when the workspace is there.
    const gone = { a: { type: "local_file", src: "no-such-file-here" } } as const;
    expect(await failure(client.create({ manifest: { entries: gone } }))).toMatchObject({
      code: "SEED_NOT_FOUND",
    });
    expect(await pyro.listWorkspaces()).toEqual([]);
  });

  it("yields what takes long, goes on where it was read, and interrupts it", async () => {
    const session = await client.create();
    const begun = await session.exec({ cmd: "echo one; sleep 0.6; echo two; sleep 100", yieldTimeMs: 300 });
    expect(begun.sessionId).toBe(1);
    expect(begun.exitCode).toBeUndefined();
    let output = begun.output;
    await expect
      .poll(async () => {
        const told = await session.writeStdin({ sessionId: 1, yieldTimeMs: 100 });
        output += /session ID 1\nOutput:\n([^]*)$/.exec(told)?.[1] ?? told;
        return output;
      })
      .toContain("two");
    expect(output).toBe("one\ntwo\n");
    expect(await session.writeStdin({ sessionId: 1, chars: "words" })).toContain("start it with tty true");
    expect(await session.writeStdin({ sessionId: 1, chars: "\u0003", yieldTimeMs: 5000 })).toMatch(
      /exited with code \d+/,
    );
    expect(await session.writeStdin({ sessionId: 1 })).toContain("PROCESS_NOT_FOUND");
    expect((await pyro.listWorkspaceCommands(session.state.workspaceId)).map(({ state }) => state)).toEqual([
      "done",
    ]);
  });

  it("has terminals, to which one writes", async () => {
    const session = await client.create({ manifest: { environment: { WORD: "w" } } });
    const opened = await session.exec({ cmd: "cat", tty: true, yieldTimeMs: 50 });
    expect(opened).toMatchObject({ sessionId: 1, output: "$ " });
    const [shell] = await pyro.listShells(session.state.workspaceId);
    expect(shell?.argv).toEqual(["env", "WORD=w", "/bin/sh", "-lc", "cat"]);
    expect(await session.writeStdin({ sessionId: 1, chars: "hello\r" })).toContain("hello");
    expect(await session.writeStdin({ sessionId: 1, chars: "exit 4\r" })).toContain(
      "Process exited with code 4",
    );
    expect(await pyro.listShells(session.state.workspaceId)).toEqual([]);
  });

  it("cuts what is longer than the model asked for, in the middle", async () => {
    const session = await client.create();
    const { output, originalTokenCount } = await session.exec({ cmd: "seq 1 1000", maxOutputTokens: 10 });
    expect(output).toMatch(/^1\n2\n3[^]*characters are left out[^]*1000\n$/);
    expect(originalTokenCount).toBe(Math.ceil(3893 / 4));
  });

  it("edits by patches, with a word about what does not fit", async () => {
    const session = await client.create({
      manifest: { entries: { "a.txt": { type: "file", content: "one\n" } } },
    });
    const editor = session.createEditor();
    const update = {
      type: "update_file",
      path: "a.txt",
      diff: "@@\n-one\n+eins\n",
      moveTo: "new/b.txt",
    } as const;
    expect(await editor.updateFile(update)).toEqual({ status: "completed", output: "a.txt: updated" });
    expect(await read(session, "new/b.txt")).toBe("eins\n");
    expect(await editor.updateFile(update)).toMatchObject({
      status: "failed",
      output: expect.stringContaining("GUEST_FILE_NOT_FOUND") as string,
    });
    expect(await editor.createFile({ type: "create_file", path: "c", diff: "+c" })).toMatchObject({
      status: "completed",
    });
    expect(await editor.deleteFile({ type: "delete_file", path: "c" })).toMatchObject({
      status: "completed",
    });
    const other = session.createEditor("somebody");
    expect(await other.deleteFile({ type: "delete_file", path: "c" })).toMatchObject({ status: "failed" });
  });

  it("shows images, and says what is none", async () => {
    const session = await client.create();
    const write = (path: string, content: Uint8Array | string) =>
      pyro.writeWorkspaceFile({ workspaceId: session.state.workspaceId, path, content });
    await write("a.png", Buffer.from("89504e470d0a1a0a", "hex"));
    await write("a.txt", "text");
    await write("big.png", Buffer.alloc(10 * 1024 * 1024 + 1, 0x89));
    expect(await session.viewImage({ path: "a.png" })).toMatchObject({
      type: "image",
      image: { mediaType: "image/png" },
    });
    expect(await failure(session.viewImage({ path: "a.txt" }))).toMatchObject({
      message: "a.txt is not a supported image",
    });
    expect(await failure(session.viewImage({ path: "big.png" }))).toMatchObject({
      message: "big.png exceeds the 10 MB limit",
    });
    expect(await failure(session.viewImage({ path: "none.png" }))).toMatchObject({
      code: "GUEST_FILE_NOT_FOUND",
    });
  });

  it("offers the tools of a profile as functions", async () => {
    await using tools = await createTools({ stateDir: served.stateDir, profile: "workspace-core" });
    const functions = agentTools(tools);
    const list = functions.find(({ name }) => name === "workspace_list");
    const given = (input: string): Promise<unknown> =>
      list?.invoke(undefined as unknown as Parameters<typeof list.invoke>[0], input) ?? Promise.resolve();
    expect(await given("{}")).toContain("no workspaces");
    expect(await given('{"nonsense": 1}')).toContain("INVALID_ARGUMENT");
    expect(await given("{")).toContain("the arguments are no JSON");
    expect(functions.map(({ name }) => name)).toEqual(tools.tools.map(({ name }) => name));
  });
});
