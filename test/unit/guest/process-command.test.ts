import { describe, expect, it } from "vitest";
import { startProcess, type GuestConnection, type ProcessSpec } from "../../../src/guest/index.js";
import { type StartRequest } from "../../../src/protocol/gen/pyro/guest/v1/guest_pb.js";
import { spec, withGuest } from "../../fakes/scripted-process.js";

describe("a command for the guest", () => {
  const nothing = undefined as unknown as GuestConnection;
  it.each<[string, Partial<ProcessSpec>, string]>([
    ["no argument", { argv: [] }, "INVALID_ARGUMENT"],
    ["an empty program name", { argv: [""] }, "INVALID_ARGUMENT"],
    ["a NUL in an argument", { argv: ["a", "b\0c"] }, "INVALID_ARGUMENT"],
    ["a NUL in the environment", { env: ["A=\0"] }, "INVALID_ARGUMENT"],
    ["an environment entry without =", { env: ["A"] }, "INVALID_ARGUMENT"],
    ["an empty environment name", { env: ["=A"] }, "INVALID_ARGUMENT"],
    ["an environment name that begins with =", { env: ["=A=B"] }, "INVALID_ARGUMENT"],
    ["a relative working directory", { cwd: "tmp" }, "INVALID_ARGUMENT"],
    ["a working directory with a NUL", { cwd: "/\0" }, "INVALID_ARGUMENT"],
    ["a working directory that is too long", { cwd: `/${"x".repeat(4095)}` }, "INVALID_ARGUMENT"],
    ["an argument of 131,072 bytes", { argv: ["a", "x".repeat(131_072)] }, "ARGUMENT_TOO_LARGE"],
    ["an environment entry of 131,072 bytes", { env: [`A=${"x".repeat(131_070)}`] }, "ARGUMENT_TOO_LARGE"],
    [
      "more than 2 MiB in all",
      { argv: Array.from({ length: 17 }, () => "x".repeat(131_000)) },
      "ARGUMENT_TOO_LARGE",
    ],
    ["more than 100,000 strings", { argv: Array.from({ length: 100_001 }, () => "x") }, "ARGUMENT_TOO_LARGE"],
  ])("with %s is refused before anything is sent", async (_, bad, expected) => {
    await expect(startProcess(nothing, { ...spec, ...bad })).rejects.toMatchObject({
      code: expected,
      hint: /./,
    });
  });

  it("may use the whole room, and bytes that are no UTF-8", async () => {
    let started: StartRequest | undefined;
    const start = (request: StartRequest): object => {
      started = request;
      return { pid: 1 };
    };
    await withGuest({ start }, async (_, connection) => {
      const argv = ["a", "x".repeat(131_071), Uint8Array.of(0xff, 0xfe)];
      await startProcess(connection, { ...spec, argv, env: ["A=B=C", "A=", "A=B"] });
      expect(started?.argv.map(({ length }) => length)).toEqual([1, 131_071, 2]);
      expect(Buffer.from(started?.argv[2] ?? []).toString("hex")).toBe("fffe");
      expect(started?.env.map((entry) => Buffer.from(entry).toString())).toEqual(["A=B=C", "A=", "A=B"]);
    });
  });

  it("runs as root, in a directory that is there, unless it says otherwise", async () => {
    const started: StartRequest[] = [];
    const start = (request: StartRequest): object => {
      started.push(request);
      return { pid: 1 };
    };
    await withGuest({ start }, async (_, connection) => {
      await startProcess(connection, spec);
      await startProcess(connection, { ...spec, user: "app:staff", makeCwd: true });
      expect(started).toMatchObject([
        { user: "", makeCwd: false },
        { user: "app:staff", makeCwd: true },
      ]);
    });
  });
});
