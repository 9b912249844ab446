import { describe, expect, it } from "vitest";
import { connectGuest, startProcess, type GuestProcess, type OutputPiece } from "../../../src/guest/index.js";
import { OutputStream, ProcessService } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { FakeGuest, type FakeGuestScript } from "../../fakes/fake-guest.js";
import { chunk, code, exit, read, spec, text, withGuest, type Reply } from "../../fakes/scripted-process.js";

describe("an agent that lies about a process", () => {
  const run = async (...replies: Reply[]): Promise<{ pieces: OutputPiece[]; process: GuestProcess }> => {
    let result: { pieces: OutputPiece[]; process: GuestProcess } | undefined;
    await withGuest({ readOutput: () => replies }, async (_, connection) => {
      const process = await startProcess(connection, spec);
      result = { pieces: await read(process), process };
    });
    if (result === undefined) throw new Error("unreachable");
    return result;
  };

  it.each([
    ["code 256", { code: 256 }, { exitCode: 255, signal: undefined }],
    ["code -1", { code: 0xffffffff }, { exitCode: 255, signal: undefined }],
    ["a signal that is none", { signal: "\u001b[2J" }, { exitCode: 255, signal: undefined }],
    ["a signal and a code", { code: 4, signal: "SIGKILL" }, { exitCode: undefined, signal: "SIGKILL" }],
    [
      "an endless duration",
      { durationUs: 2n ** 64n - 1n },
      { exitCode: 0, durationUs: Number.MAX_SAFE_INTEGER },
    ],
  ])("gets %s normalised", async (_, status, expected) => {
    const { process } = await run(exit(status));
    expect(await process.exit).toMatchObject(expected);
  });

  it("is not listened to after the exit", async () => {
    const { pieces, process } = await run(
      chunk("a", 0),
      exit({ code: 1 }),
      exit({ code: 2 }),
      chunk("b", 1),
      exit(),
    );
    expect(text(pieces)).toBe("a");
    expect((await process.exit).exitCode).toBe(1);
  });

  it.each<[string, Reply[]]>([
    ["ends without an exit", [chunk("a", 0)]],
    ["writes at an offset that cannot be", [chunk("a", 2 ** 53)]],
    ["writes on an unknown stream", [chunk("a", 0, OutputStream.UNSPECIFIED), exit()]],
    ["sends messages that say nothing, for ever", Array.from({ length: 1_100 }, () => chunk("", 0))],
    ["repeats what was read, for ever", Array.from({ length: 1_100 }, () => chunk("a", 0))],
  ])("breaks the protocol when it %s", async (_, replies) => {
    await expect(run(...replies)).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
  });

  it("breaks the protocol when it runs a command without having started it", async () => {
    const routes: FakeGuestScript["routes"] = (router) =>
      router.service(ProcessService, {
        run: async function* () {
          yield exit();
        },
      });
    await using guest = await FakeGuest.start({ capabilities: ["run"], routes });
    await using connection = await connectGuest(guest.path, { timeoutMs: 5_000 });
    await expect(startProcess(connection, spec)).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
  });
});
