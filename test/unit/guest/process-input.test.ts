import { describe, expect, it } from "vitest";
import { startProcess } from "../../../src/guest/index.js";
import { LIMITS } from "../../../src/protocol/index.js";
import { code, spec, withGuest, type ProcessScript } from "../../fakes/scripted-process.js";

describe("the standard input of a process", () => {
  const taking =
    (takeEach: (text: string) => void): NonNullable<ProcessScript["writeInput"]> =>
    async (messages) => {
      let acceptedBytes = 0n;
      for await (const { data, end, processId } of messages) {
        acceptedBytes += BigInt(data.length);
        takeEach(`${processId}:${Buffer.from(data).toString()}${end ? "!" : ""}`);
      }
      return { acceptedBytes };
    };

  it("arrives in order and ends", async () => {
    const seen: string[] = [];
    await withGuest({ writeInput: taking((each) => seen.push(each)) }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      expect(await process.writeInput(Buffer.from("one"))).toBe(true);
      expect(await process.writeInput(Buffer.from("two"))).toBe(true);
      // Longer than a call lingers: the next write is a call of its own.
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(await process.writeInput(Buffer.from("three"))).toBe(true);
      await process.endInput();
      expect(seen).toEqual(["p1:one", ":two", "p1:three", ":!"]);
      expect(await process.writeInput(Buffer.from("late"))).toBe(false);
      await process.endInput();
    });
  });

  it("is cut into chunks and waits for its reader", async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let largest = 0;
    const writeInput: ProcessScript["writeInput"] = async (messages) => {
      await held;
      let acceptedBytes = 0n;
      for await (const { data } of messages) {
        largest = Math.max(largest, data.length);
        acceptedBytes += BigInt(data.length);
      }
      return { acceptedBytes };
    };
    await withGuest({ writeInput }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      let isDone = false;
      const writing = process.writeInput(Buffer.alloc(20_000_000)).then(() => (isDone = true));
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(isDone).toBe(false);
      release();
      await writing;
      await process.endInput();
      expect(largest).toBe(LIMITS.bulkChunkBytes);
    });
  });

  it("tells when the command takes no more", async () => {
    const writeInput: ProcessScript["writeInput"] = async (messages) => {
      for await (const { data } of messages)
        return { acceptedBytes: BigInt(data.length) - 1n, closedByProcess: true };
      return {};
    };
    await withGuest({ writeInput }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      while (await process.writeInput(Buffer.from("more")))
        await new Promise((resolve) => setTimeout(resolve, 1));
      expect(await process.writeInput(Buffer.from("late"))).toBe(false);
      await process.endInput();
      const closed = await startProcess(connection, spec);
      expect(await closed.writeInput(Buffer.from("x"))).toBe(false);
    });
  });

  it("fails when the port goes away in the middle, or the agent miscounts", async () => {
    await withGuest({ writeInput: () => new Promise(() => undefined) }, async (guest, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      const ending = process.endInput();
      setTimeout(() => guest.hangUp(), 20);
      await expect(ending).rejects.toEqual(code("GUEST_DISCONNECTED"));
      await expect(process.writeInput(Buffer.from("x"))).rejects.toEqual(code("GUEST_DISCONNECTED"));
    });
    await withGuest({ writeInput: () => Promise.resolve({ acceptedBytes: 77n }) }, async (_, connection) => {
      const process = await startProcess(connection, { ...spec, openStdin: true });
      await expect(process.endInput()).rejects.toEqual(code("GUEST_PROTOCOL_ERROR"));
    });
  });
});
