import { afterEach, beforeEach, expect, it } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import {
  diffWorkspace,
  editFile,
  filesOf,
  patchFiles,
  readFile,
  writeFile,
  type Workspace,
} from "../../../src/workspace/index.js";
import { NEVER, WorkspaceHost } from "../../fakes/workspace-host.js";

let host: WorkspaceHost;
let workspace: Workspace;
beforeEach(async () => {
  host = await WorkspaceHost.start();
  workspace = await host.create();
});
afterEach(() => host[Symbol.asyncDispose]());

const PATCH = Buffer.from("--- a/seeded\n+++ b/seeded\n@@ -1 +1 @@\n-as seeded\n+patched\n");
const WHOLE = { offset: 0, maxBytes: 0 };

async function* part(): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(Buffer.from("x"));
}

async function drained(parts: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of parts);
}

it.each<[step: string, call: (workspace: Workspace) => Promise<unknown>]>([
  [
    "list",
    async (w) =>
      await (await filesOf(w, NEVER)).list(Buffer.from("/workspace"), { recursive: false, maxEntries: 1 }),
  ],
  ["read", (w) => readFile(w, "seeded", WHOLE, NEVER)],
  ["write", (w) => writeFile(w, "new", part(), NEVER)],
  ["edit", (w) => editFile(w, "seeded", { oldText: "as", newText: "is", replaceAll: false }, NEVER)],
  ["commit", (w) => patchFiles(w, PATCH, NEVER)],
  ["changes", (w) => drained(diffWorkspace(w, "", NEVER))],
])("a call during whose %s the machine dies says that it did", async (at, call) => {
  host.machines.before = (step) => {
    if (step !== at) return;
    host.machines.machine.lose();
    throw new PyroError("GUEST_DISCONNECTED", "gone");
  };
  await expect(call(workspace)).rejects.toMatchObject({ code: "VM_CRASHED" });
});

it("a file whose machine dies on the way says so behind what came of it", async () => {
  const machine = await workspace.machine(NEVER);
  const broken = {
    ...machine.files,
    read: () =>
      Promise.resolve({
        sizeBytes: 2,
        data: (async function* () {
          yield await Promise.resolve(Buffer.from("a"));
          host.machines.machine.lose();
          throw new PyroError("GUEST_DISCONNECTED", "gone");
        })(),
      }),
  };
  Object.defineProperty(machine, "files", { value: broken });
  const came: string[] = [];
  const reading = (async () => {
    const content = await readFile(workspace, "seeded", WHOLE, NEVER);
    for await (const piece of content.data) came.push(Buffer.from(piece).toString());
  })();
  await expect(reading).rejects.toMatchObject({ code: "VM_CRASHED" });
  expect(came).toEqual(["a"]);
});

it("what is wrong with the call itself is told as it is", async () => {
  await expect(readFile(workspace, "nowhere", WHOLE, NEVER)).rejects.toMatchObject({
    code: "GUEST_FILE_NOT_FOUND",
  });
});
