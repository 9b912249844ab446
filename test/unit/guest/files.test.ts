import { describe, expect, it } from "vitest";
import {
  commitFiles,
  connectGuest,
  downloadFile,
  editFile,
  extractTar,
  holdWrites,
  listChanges,
  listFiles,
  packTar,
  uploadFile,
  type CommitStep,
  type GuestConnection,
} from "../../../src/guest/index.js";
import { LIMITS, type PyroError } from "../../../src/protocol/index.js";
import {
  FileChange_Kind,
  FileService,
  FileType,
  SystemService,
  Tree,
} from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import type { GuestRouter } from "../../fakes/fake-callee.js";
import { FakeGuest } from "../../fakes/fake-guest.js";

type Routes = (router: GuestRouter) => void;

async function withGuest(routes: Routes, use: (connection: GuestConnection) => Promise<void>): Promise<void> {
  await using guest = await FakeGuest.start({ routes });
  await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
  await use(connection);
}

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const text = (value: Uint8Array): string => Buffer.from(value).toString("latin1");
const code = (expected: string) => expect.objectContaining({ code: expected }) as PyroError;
const broken = code("GUEST_PROTOCOL_ERROR");
const entry = (path: string, more: object = {}): object => ({
  path: bytes(path),
  type: FileType.FILE,
  sizeBytes: 5n,
  mode: 0o644,
  mtimeNs: 7n,
  ...more,
});

async function collect(data: AsyncIterable<Uint8Array>): Promise<string> {
  let all = "";
  for await (const piece of data) all += text(piece);
  return all;
}

/** A list or the changes of a fake, as the messages that it answers with. */
function answering(method: "list" | "changes" | "packTar", messages: object[], seen: object[] = []): Routes {
  return (router) =>
    router.service(FileService, {
      [method]: async function* (request: object) {
        seen.push(request);
        yield* messages;
      },
    });
}

describe("a list of the guest's files", () => {
  it("comes in order over several messages, names as bytes", async () => {
    const seen: object[] = [];
    const link = entry("/w/l\xff", { type: FileType.SYMLINK, linkTarget: bytes("\xfe") });
    const messages = [{ entries: [entry("/w/a"), entry("/w/a-b")] }, { entries: [entry("/w/a/b"), link], truncated: true }];
    await withGuest(answering("list", messages, seen), async (connection) => {
      const listed = await listFiles(connection, "/w", { within: "/w", recursive: true, maxEntries: 4 });
      expect(listed.entries.map(({ path }) => text(path))).toEqual(["/w/a", "/w/a-b", "/w/a/b", "/w/l\xff"]);
      expect(listed.isTruncated).toBe(true);
      expect(listed.entries[0]).toMatchObject({ type: "file", sizeBytes: 5, mode: 0o644, mtimeNs: 7n });
      expect(listed.entries[3]).toMatchObject({ type: "symlink" });
      expect(text(listed.entries[3]?.linkTarget ?? bytes(""))).toBe("\xfe");
      expect(seen[0]).toMatchObject({ recursive: true, maxEntries: 4 });
    });
  });

  it.each([
    ["a relative path", [entry("a")]],
    ["a path with a NUL", [entry("/a\0")]],
    ["a path that is too long", [entry(`/${"x".repeat(4095)}`)]],
    ["no order", [entry("/b"), entry("/a")]],
    ["one path twice", [entry("/a"), entry("/a")]],
    ["an unknown type", [entry("/a", { type: 9 })]],
    ["a size beyond all", [entry("/a", { sizeBytes: 2n ** 60n })]],
    ["a mode that is none", [entry("/a", { mode: 0o10000 })]],
    ["the target of no link", [entry("/a", { linkTarget: bytes("x") })]],
    ["a link target that is too long", [entry("/a", { type: FileType.SYMLINK, linkTarget: Buffer.alloc(5000) })]],
    ["more than was asked for", [entry("/a"), entry("/b"), entry("/c"), entry("/d")]],
  ])("with %s breaks the protocol", async (_what, entries) => {
    await withGuest(answering("list", [{ entries }]), async (connection) => {
      await expect(listFiles(connection, "/", { maxEntries: 3 })).rejects.toEqual(broken);
    });
  });

  it.each([
    ["more behind its end", [{ truncated: true }, { entries: [entry("/a")] }]],
    ["messages that say nothing", [{}, {}]],
  ])("with %s breaks the protocol", async (_what, messages) => {
    await withGuest(answering("list", messages), async (connection) => {
      await expect(listFiles(connection, "/")).rejects.toEqual(broken);
    });
  });

  it("has a bound for what its paths take together", async () => {
    const long = (index: number): object => entry(`/${"x".repeat(4000)}${String(index).padStart(6, "0")}`);
    const messages = Array.from({ length: 200 }, (_, at) => ({
      entries: Array.from({ length: 100 }, (_unused, index) => long(at * 100 + index)),
    }));
    await withGuest(answering("list", messages), async (connection) => {
      const listed = await listFiles(connection, "/");
      expect(listed.isTruncated).toBe(true);
      expect(listed.entries.length).toBeLessThan(17_000);
      await connection.system.ping({});
    });
  });

  it("is of one entry or more", async () => {
    await expect(listFiles(undefined as never, "/", { maxEntries: 0 })).rejects.toEqual(code("INVALID_ARGUMENT"));
  });
});

describe("an edit of a guest's file", () => {
  const answered = (answer: object, seen: object[] = []): Routes => (router) =>
    router.service(FileService, {
      edit: (request) => {
        seen.push(request);
        return answer;
      },
    });

  it("says what it replaced", async () => {
    const seen: object[] = [];
    await withGuest(answered({ replacements: 2, sizeBytes: 9n, crlf: true }, seen), async (connection) => {
      const options = { oldText: "a", newText: bytes("\xff"), replaceAll: true, within: "/w" };
      expect(await editFile(connection, "/w/f", options)).toEqual({ replacements: 2, sizeBytes: 9, crlf: true });
      expect(seen[0]).toMatchObject({ replaceAll: true, oldText: bytes("a"), within: bytes("/w") });
    });
  });

  it.each([
    ["nothing", { replacements: 0 }],
    ["more than was asked for", { replacements: 2 }],
    ["a size that is not", { replacements: 1, sizeBytes: 2n ** 40n }],
  ])(
    "that answers with %s breaks the protocol",
    async (_what, answer) => {
      await withGuest(answered(answer), async (connection) => {
        await expect(editFile(connection, "/f", { oldText: "a", newText: "b" })).rejects.toEqual(broken);
      });
    },
  );

  it("needs a text, and one that fits", async () => {
    const nothing = undefined as never;
    await expect(editFile(nothing, "/f", { oldText: "", newText: "b" })).rejects.toEqual(code("INVALID_ARGUMENT"));
    const long = Buffer.alloc(LIMITS.editedTextBytes + 1);
    await expect(editFile(nothing, "/f", { oldText: "a", newText: long })).rejects.toEqual(code("ARGUMENT_TOO_LARGE"));
  });
});

describe("a tar of the guest's files", () => {
  it("is read as a stream, and says at its end what is not in it", async () => {
    const messages = [{ data: bytes("one ") }, { data: bytes("two") }, { leftOut: 3n }];
    await withGuest(answering("packTar", messages), async (connection) => {
      const tar = await packTar(connection, "/w", { within: "/w" });
      expect(await collect(tar.data)).toBe("one two");
      expect(tar.leftOut).toBe(3);
    });
  });

  it("that is empty or counts beyond all breaks the protocol", async () => {
    await withGuest(answering("packTar", []), async (connection) => {
      await expect(packTar(connection, "/w")).rejects.toEqual(broken);
    });
    for (const tail of [[{ leftOut: 2n ** 60n }], [{}, { data: bytes("x") }], [{}, {}]]) {
      await withGuest(answering("packTar", [{ data: bytes("x") }, ...tail]), async (connection) => {
        await expect(collect((await packTar(connection, "/w")).data)).rejects.toEqual(broken);
      });
    }
  });
});

describe("a commit to the guest's files", () => {
  interface Sent {
    case: string | undefined;
    value?: unknown;
  }
  const taking = (sent: Sent[], changed?: number): Routes => (router) =>
    router.service(FileService, {
      commit: async (messages) => {
        let count = 0;
        for await (const { step } of messages) {
          if (step.case === "change") count++;
          sent.push(step);
        }
        return { changed: changed ?? count };
      },
    });
  const hash = Buffer.alloc(32, 1);

  it("sends its steps in order, content in chunks", async () => {
    const sent: Sent[] = [];
    const streamed = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(3);
      yield Buffer.alloc(LIMITS.bulkChunkBytes + 1);
    };
    await withGuest(taking(sent), async (connection) => {
      const steps: CommitStep[] = [
        { kind: "write", path: "/w/a", content: bytes("abc"), mode: 0o755, expectSha256: hash },
        { kind: "write", path: "/w/e", content: new Uint8Array(0) },
        { kind: "write", path: "/w/s", content: streamed() },
        { kind: "delete", path: bytes("/w/\xff") },
        { kind: "move", path: "/w/b", to: "/w/c" },
        { kind: "mode", path: "/w/d", mode: 0o600 },
      ];
      await commitFiles(connection, steps, { within: "/w" });
      const kinds = sent.map(({ case: what, value }) =>
        what === "data" ? (value as Uint8Array).length : FileChange_Kind[(value as { kind: FileChange_Kind }).kind],
      );
      expect(kinds).toEqual(["WRITE", 3, "WRITE", "WRITE", 3, LIMITS.bulkChunkBytes, 1, "DELETE", "MOVE", "MODE"]);
      expect(sent[0]?.value).toMatchObject({ mode: 0o755 });
      await commitFiles(connection, []);
    });
  });

  it("that did not make all of it breaks the protocol", async () => {
    await withGuest(taking([], 2), async (connection) => {
      await expect(commitFiles(connection, [{ kind: "delete", path: "/a" }])).rejects.toEqual(broken);
    });
  });

  it.each<[string, CommitStep[], string]>([
    ["a relative path", [{ kind: "delete", path: "a" }], "INVALID_ARGUMENT"],
    ["a move to nowhere", [{ kind: "move", path: "/a", to: "" }], "INVALID_ARGUMENT"],
    ["half a hash", [{ kind: "delete", path: "/a", expectSha256: Buffer.alloc(16) }], "INVALID_ARGUMENT"],
    ["no mode", [{ kind: "mode", path: "/a", mode: -1 }], "INVALID_ARGUMENT"],
    ["too many steps", Array<CommitStep>(1001).fill({ kind: "delete", path: "/a" }), "ARGUMENT_TOO_LARGE"],
  ])("with %s is not sent", async (_what, steps, expected) => {
    await expect(commitFiles(undefined as never, steps)).rejects.toEqual(code(expected));
  });
});

describe("the changes since the baseline", () => {
  const hash = Buffer.alloc(32, 1);
  const change = (path: string, more: object = {}): object => ({
    path: bytes(path),
    before: entry(path),
    after: entry(path),
    ...more,
  });

  it("come with both sides and their hashes", async () => {
    const messages = [
      { changes: [change("a", { beforeSha256: hash, afterSha256: hash }), change("b\xff", { before: undefined })] },
      { changes: [change("c", { after: undefined }), change("d", { modeOnly: true })], examined: 9n },
    ];
    const seen: object[] = [];
    await withGuest(answering("changes", messages, seen), async (connection) => {
      const found = await listChanges(connection, "/w");
      expect(found).toMatchObject({ examined: 9, isTruncated: false });
      expect(found.changes.map(({ path }) => text(path))).toEqual(["a", "b\xff", "c", "d"]);
      expect(Buffer.from(found.changes[0]?.afterSha256 ?? []).equals(hash)).toBe(true);
      expect(found.changes[1]).not.toHaveProperty("before");
      expect(found.changes[2]).not.toHaveProperty("after");
      expect(found.changes[3]?.isModeOnly).toBe(true);
    });
  });

  it("are cut off where they are too many", async () => {
    const messages = [{ changes: [change("a"), change("b"), change("c")] }, { examined: 3n }];
    await withGuest(answering("changes", messages), async (connection) => {
      const found = await listChanges(connection, "/w", { maxChanges: 2 });
      expect(found).toMatchObject({ examined: undefined, isTruncated: true });
      expect(found.changes).toHaveLength(2);
      await connection.system.ping({});
    });
  });

  it("may be of nothing", async () => {
    await withGuest(answering("changes", [{}]), async (connection) => {
      expect(await listChanges(connection, "/w", { below: "a/b" })).toEqual({ changes: [], examined: 0, isTruncated: false });
    });
  });

  it.each([
    ["an absolute path", [change("/a")]],
    ["a path that leads up", [change("d/../../a")]],
    ["an empty path", [change("")]],
    ["a NUL", [change("d/a\0")]],
    ["no order", [change("d/b"), change("d/a")]],
    ["neither side", [{ path: bytes("d/a") }]],
    ["another path inside", [change("d/a", { after: entry("d/b") })]],
    ["a hash that is none", [change("d/a", { afterSha256: Buffer.alloc(20) })]],
    ["the hash of a directory", [change("d/a", { after: entry("d/a", { type: FileType.DIRECTORY }), afterSha256: hash })]],
    ["a mode of what is gone", [change("d/a", { after: undefined, modeOnly: true })]],
    ["what was not asked for", [change("dd/a")]],
  ])("with %s break the protocol", async (_what, changes) => {
    await withGuest(answering("changes", [{ changes }]), async (connection) => {
      await expect(listChanges(connection, "/w", { below: "d" })).rejects.toEqual(broken);
    });
  });

  it("end with the message that counts them", async () => {
    await withGuest(answering("changes", [{ examined: 1n }, { changes: [change("a")] }]), async (connection) => {
      await expect(listChanges(connection, "/w")).rejects.toEqual(broken);
    });
    await withGuest(answering("changes", [{ examined: 2n ** 60n }]), async (connection) => {
      await expect(listChanges(connection, "/w")).rejects.toEqual(broken);
    });
  });

  it.each(["/a", "..", "a//b", "a/", "./a"])("are not of %j", async (below) => {
    await expect(listChanges(undefined as never, "/w", { below })).rejects.toEqual(code("INVALID_ARGUMENT"));
  });
});

describe("transfers within a directory", () => {
  it("tell the guest which, and which tree", async () => {
    const seen: { within: Uint8Array; tree?: Tree }[] = [];
    const take = async (messages: AsyncIterable<{ within: Uint8Array; data: Uint8Array }>): Promise<void> => {
      for await (const message of messages) if (message.within.length > 0) seen.push(message);
    };
    const routes: Routes = (router) =>
      router.service(FileService, {
        read: async function* (request) {
          seen.push(request);
          yield { sizeBytes: 0n };
        },
        write: async (messages) => {
          await take(messages);
          return {};
        },
        extractTar: async (messages) => {
          await take(messages);
          return {};
        },
      });
    const nothing = async function* (): AsyncGenerator<Uint8Array> {};
    await withGuest(routes, async (connection) => {
      const within = "/w";
      await collect((await downloadFile(connection, "/w/a", { within, tree: "baseline" })).data);
      await uploadFile(connection, "/w/a", nothing(), { within });
      await extractTar(connection, "/w", nothing(), { within });
      expect(seen.map((message) => text(message.within))).toEqual(["/w", "/w", "/w"]);
      expect(seen[0]?.tree).toBe(Tree.BASELINE);
      await expect(downloadFile(connection, "/w/a", { within: "w" })).rejects.toEqual(code("INVALID_ARGUMENT"));
    });
  });
});

describe("held writes of the guest", () => {
  const holding = (calls: string[], wasHeld: boolean): Routes => (router) =>
    router.service(SystemService, {
      holdWrites: ({ hold, maxMs }) => {
        calls.push(hold ? `hold ${maxMs}` : "let go");
        return { wasHeld };
      },
    });

  it.each([true, false])("are let go on once, and it is known whether they were held: %j", async (wasHeld) => {
    const calls: string[] = [];
    await withGuest(holding(calls, wasHeld), async (connection) => {
      {
        await using held = await holdWrites(connection, 2_000);
        expect(await held.letGo()).toBe(wasHeld);
        expect(await held.letGo()).toBe(wasHeld);
      }
      expect(calls).toEqual(["hold 2000", "let go"]);
    });
  });

  it("are let go on when whoever held them left without a word", async () => {
    const calls: string[] = [];
    await withGuest(holding(calls, true), async (connection) => {
      {
        await using _held = await holdWrites(connection, 100);
      }
      expect(calls).toEqual(["hold 100", "let go"]);
    });
  });

  it.each([0, 30_001, 1.5])("are not held for %j ms", async (maxMs) => {
    await expect(holdWrites(undefined as never, maxMs)).rejects.toEqual(code("INVALID_ARGUMENT"));
  });
});
