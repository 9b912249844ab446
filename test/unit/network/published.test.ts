import { connect, createServer, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { PublishedPort, type DialledPipe } from "../../../src/network/index.js";
import { FakePipe } from "./gateway-support.js";

const code = (expected: string): unknown => expect.objectContaining({ code: expected });

/** A program of the guest that listens: its end of each connection. */
class Dialled extends FakePipe implements DialledPipe {
  hasLeft = false;
  leave(): Promise<void> {
    this.hasLeft = true;
    return Promise.resolve();
  }
}

async function client(port: number): Promise<Socket> {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  socket.on("error", () => undefined);
  await new Promise((resolve) => socket.once("connect", resolve));
  return socket;
}

describe("a published port", () => {
  it("carries bytes both ways to the port in the guest, and tells what it carried", async () => {
    const dialled: [number, Dialled][] = [];
    const ends: unknown[] = [];
    await using port = await PublishedPort.open({
      hostPort: 0,
      guestPort: 3000,
      dial: (guestPort) => {
        dialled.push([guestPort, new Dialled()]);
        return Promise.resolve(dialled.at(-1)?.[1] as Dialled);
      },
      onConnection: () => (ended) => ends.push(ended),
    });
    expect(port.hostPort).toBeGreaterThan(1023);
    const socket = await client(port.hostPort);
    const heard: string[] = [];
    socket.on("data", (data) => heard.push(data.toString()));
    socket.write("GET / HTTP/1.1\r\n\r\n");
    socket.end();
    await expect.poll(() => dialled[0]?.[1].isFinished).toBe(true);
    const [guestPort, pipe] = dialled[0] as [number, Dialled];
    expect(guestPort).toBe(3000);
    expect(pipe.text).toBe("GET / HTTP/1.1\r\n\r\n");
    await pipe.send("HTTP/1.1 200 OK\r\n\r\n");
    pipe.end();
    await expect.poll(() => heard.join("")).toBe("HTTP/1.1 200 OK\r\n\r\n");
    await expect.poll(() => ends).toEqual([{ bytesUp: 19, bytesDown: 18, end: "finished" }]);
    expect(pipe.hasLeft).toBe(true);
    expect(port.openCount).toBe(0);
    socket.destroy();
  });

  it("takes many at once, as browsers do, without a word of Node about listeners", async () => {
    const warnings: Error[] = [];
    const warn = (warning: Error): unknown => warnings.push(warning);
    process.on("warning", warn);
    await using port = await PublishedPort.open({
      hostPort: 0,
      guestPort: 3000,
      dial: () => Promise.resolve(new Dialled()),
    });
    const sockets = await Promise.all(Array.from({ length: 40 }, () => client(port.hostPort)));
    await expect.poll(() => port.openCount).toBe(40);
    for (const socket of sockets) socket.resetAndDestroy();
    await expect.poll(() => port.openCount).toBe(0);
    process.off("warning", warn);
    expect(warnings).toEqual([]);
  });

  it("listens on 127.0.0.1 alone", async () => {
    await using port = await PublishedPort.open({
      hostPort: 0,
      guestPort: 1,
      dial: () => Promise.resolve(new Dialled()),
    });
    for (const host of ["127.0.0.2", "::1"]) {
      const refused = await new Promise((resolve) =>
        connect({ host, port: port.hostPort }).on("error", resolve),
      );
      expect(refused).toBeInstanceOf(Error);
    }
  });

  it("resets a client whose guest does not answer", async () => {
    const ends: { end: string }[] = [];
    await using port = await PublishedPort.open({
      hostPort: 0,
      guestPort: 3000,
      dial: () => Promise.reject(new Error("nobody listens there")),
      onConnection: () => (ended) => ends.push(ended),
    });
    const socket = connect({ host: "127.0.0.1", port: port.hostPort });
    const seen = await new Promise((resolve) =>
      socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code)),
    );
    expect(seen).toBe("ECONNRESET");
    await expect
      .poll(() => ends)
      .toMatchObject([{ end: expect.stringContaining("nobody listens there") as string }]);
  });

  it("is gone with all its connections when it is closed", async () => {
    const pipes: Dialled[] = [];
    let aborted = 0;
    const port = await PublishedPort.open({
      hostPort: 0,
      guestPort: 3000,
      dial: (_port, signal) => {
        if (pipes.length > 0) {
          return new Promise((_, reject) =>
            signal.addEventListener("abort", () => {
              aborted += 1;
              reject(signal.reason as Error);
            }),
          );
        }
        pipes.push(new Dialled());
        return Promise.resolve(pipes[0] as Dialled);
      },
    });
    const { hostPort } = port;
    const one = await client(hostPort);
    const closed = new Promise((resolve) => one.once("close", resolve));
    await expect.poll(() => pipes.length).toBe(1);
    const two = await client(hostPort);
    await expect.poll(() => port.openCount).toBe(2);
    await port[Symbol.asyncDispose]();
    await port[Symbol.asyncDispose]();
    await closed;
    expect(pipes[0]?.resetWith).toBe("the port is not published any more");
    expect(aborted).toBe(1);
    expect(port.openCount).toBe(0);
    const refused = await new Promise((resolve) =>
      connect({ host: "127.0.0.1", port: hostPort }).on("error", resolve),
    );
    expect(refused).toMatchObject({ code: "ECONNREFUSED" });
    two.destroy();
  });

  it("is refused where the port is taken, privileged or none, and no other is guessed", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const taken = (other.address() as { port: number }).port;
    const open = (hostPort: number, guestPort = 80): Promise<PublishedPort> =>
      PublishedPort.open({ hostPort, guestPort, dial: () => Promise.resolve(new Dialled()) });
    await expect(open(taken)).rejects.toEqual(code("PORT_TAKEN"));
    await expect(open(80)).rejects.toEqual(code("PORT_PRIVILEGED"));
    await expect(open(1023)).rejects.toEqual(code("PORT_PRIVILEGED"));
    for (const [host, guest] of [
      [-1, 80],
      [65_536, 80],
      [8080.5, 80],
      [0, 0],
      [0, 70_000],
    ] as const) {
      await expect(open(host, guest)).rejects.toEqual(code("INVALID_ARGUMENT"));
    }
    await new Promise((resolve) => other.close(resolve));
  });
});
