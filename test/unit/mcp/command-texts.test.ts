import { expect, test } from "vitest";
import { fakeWorkspaces } from "../../fakes/fake-workspaces.js";
import { withCore } from "./core-session.js";

test.each([
  ["exit 0", {}],
  ["exit 7", { result: { exitCode: 7 } }],
  ["killed SIGKILL", { result: { signal: "SIGKILL" } }],
  ["timed out after 30 s", { result: { timedOut: true, signal: "SIGKILL" } }],
  ["interrupted: the machine crashed", { result: undefined, interrupted: "the machine crashed" }],
])("the first line of a command says %s", async (line, command) => {
  const { texts } = await withCore(fakeWorkspaces("", command).service, ({ tool }) =>
    tool("workspace_exec", { workspace_id: "fix", argv: ["make"], timeout_seconds: 30 }),
  );
  expect(texts).toHaveLength(1);
  expect(texts[0]?.split("\n")[0]).toBe(line);
});

test("what the network refused while a command ran is told in a line, with how the user could allow it", async () => {
  const networkRefusal =
    "the network policy refuses 192.0.2.7:443; only the user can allow it: --allow-cidr 192.0.2.7";
  const { service } = fakeWorkspaces("", { result: { exitCode: 7 }, networkRefusal });
  const { texts, fields } = await withCore(service, ({ tool }) =>
    tool("workspace_exec", { workspace_id: "fix", argv: ["make"] }),
  );
  expect(texts[0]?.split("\n")).toContain(`network: ${networkRefusal}`);
  expect(fields).toMatchObject({ network_refusal: networkRefusal });
});

test("a command that goes on is left running, and the call that waits for it is named", async () => {
  const { service, cancelled } = fakeWorkspaces("so far\n", { running: true, result: undefined });
  const { texts, fields } = await withCore(
    service,
    ({ tool }) => tool("workspace_exec", { workspace_id: "fix", command: "sleep 100" }),
    { blockMs: 1_200 },
  );
  expect(texts[0]?.split("\n")).toEqual([
    "still running",
    "command 7 of ws-1",
    "output: 7 bytes, all below",
    'next: workspace_logs(workspace_id="ws-1", sequence=7, offset=7, wait_seconds=40)',
    'workspace_cancel(workspace_id="ws-1", sequence=7) ends it',
  ]);
  expect(texts[1]).toBe("so far\n");
  expect(fields).toMatchObject({ state: "running", sequence: 7, next_offset: 7 });
  expect(cancelled).toEqual([]);
});

test("cancelling the call ends the command; a client that goes away leaves it", async () => {
  const running = { running: true, result: undefined };
  const args = { workspace_id: "fix", command: "sleep 100" };
  const first = fakeWorkspaces("", running);
  await withCore(first.service, async ({ tool }) => {
    const controller = new AbortController();
    const onprogress = (): void => controller.abort();
    await expect(tool("workspace_exec", args, { signal: controller.signal, onprogress })).rejects.toThrow();
    await expect.poll(() => first.cancelled).toEqual([7]);
  });
  const second = fakeWorkspaces("", running);
  await withCore(second.service, async ({ tool, client }) => {
    const waiting = tool("workspace_exec", args).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await client.close();
    await waiting;
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(second.cancelled).toEqual([]);
  });
});

test("output, files and diffs are cut to 10,000 bytes, and paged by the call that is named", async () => {
  const text = Array.from({ length: 4_000 }, (_, i) => `line ${i}\n`).join("");
  const bytes = Buffer.from(text);
  const { service } = fakeWorkspaces(
    text,
    {},
    {
      async *readFile({ offset, maxBytes }) {
        const from = Number(offset);
        yield await Promise.resolve({
          sizeBytes: BigInt(bytes.length),
          data: bytes.subarray(from, from + Number(maxBytes)),
        });
      },
      async *diff() {
        yield { event: { case: "entry", value: { path: "a", change: "modified", artifactType: "file" } } };
        yield { event: { case: "patch", value: bytes } };
        yield await Promise.resolve({
          event: { case: "summary", value: { workspaceId: "ws-1", modified: 1, insertions: 4 } },
        });
      },
    },
  );
  await withCore(service, async ({ tool }) => {
    for (const [name, args, next] of [
      [
        "workspace_exec",
        { command: "x" },
        /next: (workspace_logs)\(workspace_id="ws-1", sequence=7, offset=(\d+)\)/,
      ],
      [
        "workspace_logs",
        { sequence: 7 },
        /next: (workspace_logs)\(workspace_id="ws-1", sequence=7, offset=(\d+)\)/,
      ],
      [
        "workspace_file_read",
        { path: "a" },
        /next: (workspace_file_read)\(workspace_id="\w+", path="a", offset=(\d+)\)/,
      ],
      ["workspace_diff", {}, /next: (workspace_diff)\(workspace_id="ws-1", offset=(\d+)\)/],
    ] as const) {
      const { texts } = await tool(name, { workspace_id: "fix", ...args });
      const [words = "", guest = ""] = texts;
      expect(Buffer.byteLength(words) + Buffer.byteLength(guest), name).toBeLessThanOrEqual(10_000);
      expect(guest.startsWith("line 0\n") && guest.endsWith("line 3999\n"), name).toBe(true);
      expect(Number(/cut: (\d+) bytes/.exec(words)?.[1]) + Buffer.byteLength(guest)).toBe(bytes.length);
      const [, call = "", offset = ""] = next.exec(words) ?? [];
      const rest = await tool(call, {
        ...{ workspace_id: "fix", offset: Number(offset), max_bytes: 65_536 },
        ...("path" in args ? args : call === "workspace_logs" ? { sequence: 7 } : {}),
      });
      expect(rest.texts[1]?.slice(0, 100), name).toBe(text.slice(Number(offset), Number(offset) + 100));
      expect(rest.texts[1]?.endsWith("line 3999\n"), name).toBe(true);
      expect(rest.texts[0], name).not.toContain("cut:");
    }
  });
});

test("a file that is not all UTF-8 says so, and one that is says nothing of it", async () => {
  for (const [bytes, guest, replaced] of [
    [[0x61, 0xff], "a\ufffd", true],
    [[0xef, 0xbf, 0xbd, 0xc3, 0xa4], "\ufffdä", false],
  ] as const) {
    const { service } = fakeWorkspaces(
      "",
      {},
      {
        async *readFile() {
          yield await Promise.resolve({ sizeBytes: BigInt(bytes.length), data: Uint8Array.from(bytes) });
        },
      },
    );
    await withCore(service, async ({ tool }) => {
      const { texts, fields } = await tool("workspace_file_read", { workspace_id: "fix", path: "a" });
      expect(texts[1]).toBe(guest);
      expect((texts[0] ?? "").includes("no UTF-8")).toBe(replaced);
      expect(fields).toMatchObject({ replaced, shown_bytes: bytes.length });
    });
  }
});
