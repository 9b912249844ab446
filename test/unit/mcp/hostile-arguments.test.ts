import { describe, expect, test } from "vitest";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { fakeCommand } from "../../fakes/fake-workspaces.js";
import { mcpSession, type McpSession } from "../../fakes/mcp-client.js";
import { temporaryState } from "../../fakes/state-directory.js";

type Arguments = Record<string, unknown>;

interface Property {
  readonly type?: string;
  readonly maximum?: number;
  readonly maxLength?: number;
}

/** What a model gets right of each tool; a property that is not here is optional. */
const RIGHT: Readonly<Record<string, Arguments>> = {
  workspace_create: {},
  workspace_list: {},
  workspace_sync_push: { workspace_id: "fix", source_path: "." },
  workspace_exec: { workspace_id: "fix", command: "true" },
  workspace_cancel: { workspace_id: "fix", sequence: 1 },
  workspace_file_read: { workspace_id: "fix", path: "a" },
  workspace_file_write: { workspace_id: "fix", path: "a", text: "b" },
  workspace_file_edit: { workspace_id: "fix", path: "a", old_text: "b", new_text: "c" },
  workspace_patch_apply: { workspace_id: "fix", patch: "--- a/n\n" },
  workspace_export: { workspace_id: "fix", path: "a", output_path: "b" },
};

const LONG = "x".repeat(10 * 1024 * 1024);
const deep = (levels: number): unknown => JSON.parse(`${"[".repeat(levels)}${"]".repeat(levels)}`) as unknown;

/** Values that are of another type than the property, or beyond its bounds. */
function wrongValues({ type, maximum, maxLength }: Property): unknown[] {
  const others: unknown[] = [null, {}, { $ref: "#" }, deep(1_000)];
  switch (type) {
    case "string":
      return [...others, 5, true, ["a"], ...(maxLength === undefined ? [] : ["x".repeat(maxLength + 1)])];
    case "integer":
      return [...others, "1", 1.5, -1, Number.MAX_VALUE, ...(maximum === undefined ? [] : [maximum + 1])];
    case "boolean":
      return [...others, "true", 1, 0];
    case "array":
      return [null, {}, "a b", 5, [5], [null], [{}], [["a"]]];
    case "object":
      return [null, [], "a=b", 5, { a: 5 }, { a: { b: "c" } }];
    case undefined:
    default:
      return others;
  }
}

/** A session, and the names of the daemon's calls that were made through it. */
async function withTools(body: (session: McpSession, calls: string[]) => Promise<void>): Promise<void> {
  const calls: string[] = [];
  const service = new Proxy(
    {},
    {
      get: (_, name) => (typeof name === "string" ? () => void calls.push(name) : undefined),
      has: () => true,
    },
  );
  await using state = await temporaryState();
  await using _daemon = await startFakeDaemon(state.path, { workspace: service });
  await using session = await mcpSession({
    ...{ profile: "workspace-core", noProjectSource: true, stateDir: state.path },
  });
  await body(session, calls);
}

test("every argument of every tool that is of another type, or beyond its bounds, is named, and reaches nobody", async () => {
  await withTools(async ({ client, tool }, calls) => {
    for (const { name, inputSchema } of (await client.listTools()).tools) {
      const right = RIGHT[name] ?? { workspace_id: "fix" };
      const properties = (inputSchema.properties ?? {}) as Record<string, Property>;
      for (const [key, property] of Object.entries(properties)) {
        for (const value of wrongValues(property)) {
          const { isError, texts } = await tool(name, { ...right, [key]: value });
          const shown = `${name} ${key}=${JSON.stringify(value).slice(0, 60)}`;
          expect([shown, isError, texts.length]).toEqual([shown, true, 1]);
          expect(texts[0], shown).toMatch(new RegExp(`^INVALID_ARGUMENT: [^]*${key}[^]*\nhint: .+`));
          expect(Buffer.byteLength(texts[0] ?? ""), shown).toBeLessThan(3_000);
        }
      }
    }
    expect(calls).toEqual([]);
  });
});

test.each<[string, Arguments]>([
  ["an unknown field", { secret_env: { A: "B" } }],
  ["a field of the host", { host_path: "/etc/passwd" }],
  ["a field of 10 MB", { [LONG]: 1 }],
  ["a value of 10 MB", { note: LONG }],
  ["a thousand fields", Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`f${at}`, at]))],
  ["deep JSON", { note: deep(5_000) }],
  [
    "a name of every object",
    JSON.parse('{"__proto__": {"workspace_id": "other"}, "constructor": 1}') as Arguments,
  ],
])("%s is refused by every tool in few words", async (_, more) => {
  await withTools(async ({ client, tool }, calls) => {
    for (const { name } of (await client.listTools()).tools) {
      const args = { ...(RIGHT[name] ?? { workspace_id: "fix" }) };
      for (const key of Object.keys(more))
        Object.defineProperty(args, key, { value: more[key], enumerable: true });
      const { isError, texts } = await tool(name, args);
      expect([name, isError]).toEqual([name, true]);
      expect(texts[0], name).toMatch(/^INVALID_ARGUMENT: [^]+\nhint: .+/);
      expect(Buffer.byteLength(texts[0] ?? ""), name).toBeLessThan(3_000);
    }
    expect(calls).toEqual([]);
  });
});

describe("words that a shell or an option parser would act on", () => {
  const HOSTILE = [
    "-rf",
    "--output=/etc/passwd",
    "$(touch /tmp/pyro-owned)",
    "`id`",
    "; id #",
    "a\nb",
    "'\"",
    "..",
    "%n",
  ];

  test("reach the guest as they are, each as one word", async () => {
    const seen: unknown[] = [];
    const decode = (data: Uint8Array): string => Buffer.from(data).toString();
    await using state = await temporaryState();
    await using _daemon = await startFakeDaemon(state.path, {
      workspace: {
        startCommand: ({ spec }) => {
          seen.push([spec?.argv.map(decode), spec?.command, spec?.env.map(decode)]);
          return fakeCommand("", {});
        },
        listFiles: ({ path }) => {
          seen.push(path);
          return { path, entries: [] };
        },
      },
    });
    await using session = await mcpSession({
      ...{ profile: "workspace-core", noProjectSource: true, stateDir: state.path },
    });
    for (const word of HOSTILE) {
      const workspace_id = "fix";
      await session.tool("workspace_exec", { workspace_id, argv: [word, word], env: { A: word } });
      await session.tool("workspace_file_list", { workspace_id, path: word });
    }
    expect(seen).toEqual(HOSTILE.flatMap((word) => [[[word, word], "", [`A=${word}`]], word]));
  });
});
