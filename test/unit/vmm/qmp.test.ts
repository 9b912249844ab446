import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DeadlineError } from "../../../src/kit/index.js";
import { PyroError } from "../../../src/protocol/index.js";
import { QmpClient, QmpClosed, type QmpEvent } from "../../../src/vmm/qemu/qmp.js";

let directory: string;
let server: Server;
let serve: (socket: Socket) => void;
let path: string;
const sockets = new Set<Socket>();

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "pyro-qmp-"));
  path = join(directory, "qmp.sock");
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true });
});

const GREETING = `${JSON.stringify({ QMP: {} })}\r\n`;

/** A server that answers each command by `answer`, after the greeting. */
function answering(answer: (command: { execute: string; id: number }, socket: Socket) => void): void {
  serve = (socket) => {
    socket.write(GREETING);
    socket.on("data", (data) => {
      for (const line of String(data).split("\n").filter(Boolean)) {
        answer(JSON.parse(line) as { execute: string; id: number }, socket);
      }
    });
  };
}

function reply(socket: Socket, message: object): void {
  socket.write(`${JSON.stringify(message)}\r\n`);
}

describe("The QMP client", () => {
  it("gives answers to those who asked, in any order, in any pieces", async () => {
    const held: { execute: string; id: number }[] = [];
    answering((command, socket) => {
      if (command.execute === "qmp_capabilities") {
        reply(socket, { return: {}, id: command.id });
        return;
      }
      held.push(command);
      if (held.length < 2) return;
      const bytes = held
        .reverse()
        .map(({ execute, id }) => `${JSON.stringify({ return: execute, id })}\r\n\r\n`)
        .join("");
      for (const byte of bytes) socket.write(byte);
    });
    await using client = await QmpClient.connect(path, { timeoutMs: 5_000 });
    const answers = await Promise.all([client.execute("a", {}, 5_000), client.execute("b", {}, 5_000)]);
    expect(answers).toEqual(["a", "b"]);
  });

  it("passes on events, with data or without", async () => {
    const events: QmpEvent[] = [];
    answering((command, socket) => {
      reply(socket, { event: "STOP", timestamp: {} });
      reply(socket, { event: "SHUTDOWN", data: { guest: true } });
      reply(socket, { return: {}, id: command.id });
    });
    await using _client = await QmpClient.connect(path, {
      timeoutMs: 5_000,
      onEvent: (event) => events.push(event),
    });
    expect(events).toEqual([
      { name: "STOP", data: {} },
      { name: "SHUTDOWN", data: { guest: true } },
    ]);
  });

  it("ends one wait at its deadline, and drops the late answer", async () => {
    answering((command, socket) => {
      if (command.execute !== "slow") reply(socket, { return: command.execute, id: command.id });
      else setTimeout(() => reply(socket, { return: 1, id: command.id }), 100);
    });
    await using client = await QmpClient.connect(path, { timeoutMs: 5_000 });
    await expect(client.execute("slow", {}, 20)).rejects.toBeInstanceOf(DeadlineError);
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(await client.execute("quick", {}, 5_000)).toBe("quick");
  });

  it("turns a refusal into an error that names the command", async () => {
    answering((command, socket) => {
      if (command.execute === "qmp_capabilities") reply(socket, { return: {}, id: command.id });
      else
        reply(socket, { error: { class: "GenericError", desc: "no \u001b[2Jsuch device" }, id: command.id });
    });
    await using client = await QmpClient.connect(path, { timeoutMs: 5_000 });
    const error: unknown = await client.execute("eject", {}, 5_000).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PyroError);
    expect((error as PyroError).message).toContain("QEMU refused eject");
    expect((error as PyroError).message).not.toContain("\u001b");
  });

  it("rejects what waits, and what comes later, when QEMU closes", async () => {
    answering((command, socket) => {
      if (command.execute === "qmp_capabilities") reply(socket, { return: {}, id: command.id });
      else socket.end();
    });
    const client = await QmpClient.connect(path, { timeoutMs: 5_000 });
    await expect(client.execute("quit", {}, 5_000)).rejects.toBeInstanceOf(QmpClosed);
    await expect(client.execute("again", {}, 5_000)).rejects.toBeInstanceOf(QmpClosed);
    expect(await client.closed).toBeInstanceOf(QmpClosed);
    await client[Symbol.asyncDispose]();
  });

  it.each(["not json\n", "[1]\n", "null\n", '"text"\n', "\u0000\u0001\n"])(
    "calls %j garbage",
    async (text) => {
      serve = (socket) => void socket.write(text);
      await expect(QmpClient.connect(path, { timeoutMs: 5_000 })).rejects.toMatchObject({
        code: "VMM_PROTOCOL_ERROR",
      });
    },
  );

  it("gives the system's error where nothing listens", async () => {
    await expect(QmpClient.connect(`${path}.not`, { timeoutMs: 100 })).rejects.toMatchObject({
      code: "ENOENT",
    });
  });
});
