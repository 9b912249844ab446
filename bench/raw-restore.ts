import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import { CHANNEL, dataHeader, helloFrame } from "../src/guest/frame.js";
import { FLAG, KIND, PACKET_HEADER_BYTES, putPacketHeader } from "../src/guest/packet.js";
import type { MachineSpec, RuntimeBundle, SavedMachine } from "../src/vmm/index.js";
import { AGENT_SOCKET, QMP_SOCKET, qemuArguments } from "../src/vmm/qemu/argv.js";

/** The floor under a restore, in ms from spawn: QMP's greeting, the state loaded, the agent's answer to a ping. */
export type RawRestore = Readonly<Record<"greetingMs" | "loadedMs" | "answerMs", number>>;

/** Restores once; the machine is gone when this resolves. `scratch` is a directory on the disk the daemon would use. */
export async function rawRestore(
  qemu: string,
  bundle: Pick<RuntimeBundle, "kernelPath" | "initramfsPath">,
  spec: Pick<MachineSpec, "vcpuCount" | "memMib" | "isolation" | "disks">,
  saved: SavedMachine,
  scratch: string,
  atAnswer?: (pid: number) => void,
): Promise<RawRestore> {
  const directory = await mkdtemp(join(scratch, "raw-"));
  const state = openSync(saved.stateFile, "r");
  const startedAt = performance.now();
  const argv = qemuArguments({
    id: "raw",
    ...spec,
    ...bundle,
    memory: { path: saved.memoryFile, shared: false },
    incoming: true,
  });
  const child = spawn(qemu, argv, { cwd: directory, stdio: ["ignore", "ignore", "inherit", state] });
  const gone = new Promise((resolve) => child.once("exit", resolve));
  try {
    const qmp = new Qmp(await connected(join(directory, QMP_SOCKET)));
    await qmp.sees('"QMP"');
    const greetingMs = performance.now() - startedAt;
    const capabilities = ["x-ignore-shared", "events"].map((capability) => ({ capability, state: true }));
    qmp.send("qmp_capabilities");
    qmp.send("migrate-set-capabilities", { capabilities });
    qmp.send("migrate-incoming", { uri: "fd:3" });
    // The port before the guest runs: the agent finds the question there.
    const agent = await connected(join(directory, AGENT_SOCKET));
    agent.write(greetingAndPing());
    await qmp.sees('"status": "completed"');
    const loadedMs = performance.now() - startedAt;
    qmp.send("cont");
    await pong(agent);
    const answerMs = performance.now() - startedAt;
    atAnswer?.(child.pid ?? 0);
    agent.destroy();
    qmp.socket.destroy();
    return { greetingMs, loadedMs, answerMs };
  } finally {
    child.kill("SIGKILL");
    await gone;
    closeSync(state);
    await rm(directory, { recursive: true });
  }
}

const EPOCH = 0x12345678;

/** Both in one go, as no client of ours does: the agent finds the call behind the greeting. */
function greetingAndPing(): Buffer {
  const name = Buffer.from("\0\0\0\0pyro.guest.v1.SystemService/Ping");
  const packet = { kind: KIND.call, flags: FLAG.withMessage | FLAG.last, id: 1, nameLength: name.length - 4 };
  const head = Buffer.alloc(PACKET_HEADER_BYTES);
  putPacketHeader(head, 0, packet);
  const frame = dataHeader(CHANNEL.control, EPOCH, head.length + name.length);
  return Buffer.concat([helloFrame(EPOCH), frame, head, name]);
}

/** The first frame on the channel of calls can only be the answer. */
async function pong(agent: Socket): Promise<void> {
  const begin = dataHeader(CHANNEL.control, EPOCH, 0).subarray(0, 7);
  let bytes = Buffer.alloc(0);
  for await (const chunk of agent as AsyncIterable<Buffer>) {
    bytes = Buffer.concat([bytes, chunk]);
    if (bytes.includes(begin)) return;
  }
}

/** As little of QMP as will do: commands go out blindly, and a word of the answers is waited for. */
class Qmp {
  #text = "";
  #waiting: { readonly word: string; readonly resolve: () => void } | undefined;

  constructor(readonly socket: Socket) {
    socket.on("data", (chunk) => {
      this.#text += chunk.toString();
      if (this.#waiting !== undefined && this.#text.includes(this.#waiting.word)) this.#waiting.resolve();
    });
  }

  send(execute: string, args: object = {}): void {
    this.socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
  }

  async sees(word: string): Promise<void> {
    if (this.#text.includes(word)) return;
    await new Promise<void>((resolve) => (this.#waiting = { word, resolve }));
  }
}

/** Tried every millisecond: QEMU makes its sockets when it does. */
async function connected(path: string): Promise<Socket> {
  for (;;) {
    const socket = createConnection(path);
    const isThere = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    if (isThere) return socket;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
