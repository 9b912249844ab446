/** The sandbox interfaces of frameworks, call by call, in a real VM: no framework is needed for them. */
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sandboxSession, type SandboxSession } from "../../src/integrations/ai.js";
import { pyroSandbox } from "../../src/integrations/mastra.js";
import type { Pyro } from "../../src/sdk/index.js";
import { client, eventually, machinesOf, testState, type TestState } from "./support.js";

let state: TestState;
let pyro: Pyro;
let workspaceId: string;
let session: SandboxSession;
beforeAll(async () => {
  state = await testState();
  pyro = await client(state.path);
  ({ workspaceId } = await pyro.createWorkspace({ environment: "debian:12" }));
  session = sandboxSession(pyro, workspaceId);
});
afterAll(async () => {
  await pyro.deleteWorkspace(workspaceId);
  expect(await machinesOf(state.path)).toEqual([]);
  await pyro[Symbol.asyncDispose]();
  await state[Symbol.asyncDispose]();
});

/** Whether the guest has a process of that command line. */
async function runs(line: string): Promise<boolean> {
  return (await session.run({ command: `pgrep -fx '${line}'` })).exitCode === 0;
}

it("AI SDK: reads and writes files, whole, in lines and as streams", async () => {
  const path = "deep/er/file.txt";
  await session.writeTextFile({ path, content: "one\ntwo\nthree\n" });
  expect(await session.readTextFile({ path })).toBe("one\ntwo\nthree\n");
  expect(await session.readTextFile({ path, startLine: 2, endLine: 3 })).toBe("two\nthree");
  const large = new Uint8Array(9_000_001).fill(7);
  await session.writeFile({ path: "large", content: new Response(large).body as ReadableStream<Uint8Array> });
  expect(Buffer.from((await session.readBinaryFile({ path: "large" })) ?? []).equals(large)).toBe(true);
  const stream = await session.readFile({ path: "/workspace/deep/er/file.txt" });
  expect(stream).not.toBeNull();
  expect(await text(stream as ReadableStream<Uint8Array>)).toBe("one\ntwo\nthree\n");
});

it("AI SDK: knows what is there, what is not, and what is no file", async () => {
  await session.writeTextFile({ path: "d/a'b.txt", content: "12345" });
  await session.run({ command: 'ln -s "a\'b.txt" d/link; mkdir d/inner' });
  expect(await session.stat({ path: "d/link" })).toEqual({ type: "file", size: 5 });
  expect(await session.stat({ path: "d" })).toMatchObject({ type: "directory" });
  expect(await session.stat({ path: "/dev/null" })).toMatchObject({ type: "other" });
  const listed = (await session.listDirectory({ path: "d" })) ?? [];
  expect(listed.sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([
    { name: "a'b.txt", type: "file" },
    { name: "inner", type: "directory" },
    { name: "link", type: "symlink" },
  ]);
  await expect(session.listDirectory({ path: "d/a'b.txt" })).rejects.toThrow("no directory");
  for (const none of [session.stat, session.listDirectory, session.readFile, session.readTextFile])
    expect(await none({ path: "none" })).toBeNull();
  expect(await session.deleteFile({ path: "d/link" })).toBe(true);
  expect(await session.deleteFile({ path: "d/link" })).toBe(false);
  expect(await session.readTextFile({ path: "d/a'b.txt" })).toBe("12345");
  await expect(session.deleteFile({ path: "d/inner" })).rejects.toThrow(/directory/);
});

it("AI SDK: runs commands with directory and variables, and ends them by the signal", async () => {
  const options = { workingDirectory: "/etc", env: { WORD: "said" } };
  expect(await session.run({ command: "pwd; echo $WORD >&2; exit 4", ...options })).toEqual({
    ...{ exitCode: 4, stdout: "/etc\n", stderr: "said\n" },
  });
  const controller = new AbortController();
  const running = session.run({ command: "exec sleep 4711", abortSignal: controller.signal });
  await eventually("the command runs", () => runs("sleep 4711"));
  controller.abort(new Error("enough"));
  await expect(running).rejects.toThrow("enough");
  expect(await runs("sleep 4711")).toBe(false);
});

it("AI SDK: spawns what goes on, writes to it, and kills it", async () => {
  const cat = await session.spawn({ command: "cat; exit 5", stdin: true });
  const writer = cat.stdin.getWriter();
  await writer.write(Buffer.from("to and fro"));
  await writer.close();
  expect(await text(cat.stdout)).toBe("to and fro");
  expect(await cat.wait()).toEqual({ exitCode: 5 });
  const sleeper = await session.spawn({ command: "exec sleep 4712" });
  await eventually("the command runs", () => runs("sleep 4712"));
  await sleeper.kill();
  await sleeper.kill();
  expect(await sleeper.wait()).toEqual({ exitCode: 137 });
  expect(await runs("sleep 4712")).toBe(false);
});

it("Mastra: makes its workspace when it is used, stops and starts it, and deletes it", async () => {
  const others = (await pyro.listWorkspaces()).length;
  const sandbox = pyroSandbox(pyro, { environment: "debian:12" });
  expect((await pyro.listWorkspaces()).length).toBe(others);
  await sandbox.writeFiles([
    { path: "run me.sh", content: '#!/bin/sh\necho "$1-$WORD"; exit 3\n', mode: 0o755 },
  ]);
  expect((await pyro.listWorkspaces()).length).toBe(others + 1);
  const heard: string[] = [];
  const ran = await sandbox.executeCommand("./'run me.sh'", ["it's"], {
    ...{ env: { WORD: "é", NONE: undefined }, onStdout: (data: string) => heard.push(data) },
  });
  expect(ran).toMatchObject({
    success: false,
    exitCode: 3,
    stdout: "it's-é\n",
    timedOut: false,
    killed: false,
  });
  expect(heard.join("")).toBe("it's-é\n");
  const late = await sandbox.executeCommand("sleep 60", [], { timeout: 1000 });
  expect(late).toMatchObject({ success: false, timedOut: true, exitCode: 124 });
  await sandbox.stop();
  expect(sandbox.status).toBe("stopped");
  expect(await sandbox.executeCommand("cat", ["run me.sh"])).toMatchObject({ success: true });
  expect(sandbox.status).toBe("running");
  await sandbox.destroy();
  expect((await pyro.listWorkspaces()).length).toBe(others);
});

it("Mastra: a workspace that cannot be made is an error, and nothing is left", async () => {
  const sandbox = pyroSandbox(pyro, { environment: "debian:12", memMib: 1 });
  await expect(sandbox.executeCommand("true")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(sandbox.status).toBe("error");
  await sandbox.destroy();
});
