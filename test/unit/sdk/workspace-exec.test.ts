import { Code, ConnectError } from "@connectrpc/connect";
import { mkdir } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { workspaceService } from "../../../src/daemon/services/workspace.js";
import { Pyro, type ExecEvent } from "../../../src/sdk/index.js";
import { Seeding } from "../../../src/workspace/index.js";
import { startFakeDaemon, type FakeDaemon } from "../../fakes/fake-daemon.js";
import { WorkspaceHost } from "../../fakes/workspace-host.js";
import { temporaryState } from "../../fakes/state-directory.js";

/** Both streams, so much that a part is always on its way; the numbers tell what is missing or twice. */
const LINES = 4_000;
const PRINT = `i=0; while [ $i -lt ${LINES} ]; do echo out $i; echo err $i >&2; i=$((i+1)); done`;
const linesOf = (word: string) =>
  Array.from({ length: LINES }, (_, number) => `${word} ${number}\n`).join("");

describe("a stream of a command whose daemon is lost", () => {
  let host: WorkspaceHost;
  let daemon: FakeDaemon;
  let pyro: Pyro;
  beforeEach(async () => {
    host = await WorkspaceHost.start();
    const stateDir = host.path("daemon");
    await mkdir(stateDir, { mode: 0o700 });
    const service = () => workspaceService(host.workspaces, new Seeding(host.scratch));
    daemon = await startFakeDaemon(stateDir, {
      workspace: { exec: (requests, context) => service().exec(requests, context) },
    });
    pyro = new Pyro({ stateDir });
  });
  afterEach(async () => {
    await pyro[Symbol.asyncDispose]();
    await daemon[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
  });

  /** Reads a stream to its end; `during` is called once, after some output. */
  const read = async (events: AsyncIterable<ExecEvent>, during: () => Promise<void>) => {
    const text = { stdout: "", stderr: "" };
    const others: ExecEvent[] = [];
    let called = false;
    for await (const event of events) {
      if (event.type === "stdout" || event.type === "stderr")
        text[event.type] += Buffer.from(event.data).toString();
      else others.push(event);
      if (called || text.stdout.length < 500) continue;
      called = true;
      await during();
    }
    return { ...text, others, types: others.map(({ type }) => type) };
  };

  it.each([
    ["the connection alone", async () => Promise.resolve()],
    ["its daemon, which dies", async () => await host.crash()],
    ["its daemon, which hands over", async () => await host.restart()],
  ])("goes on after it lost %s: each byte comes once", async (_, meanwhile) => {
    const { id } = await host.create();
    const stream = pyro.streamWorkspaceExec({ workspaceId: id, command: `${PRINT}; exit 7` });
    const { stdout, stderr, types, others } = await read(stream, async () => {
      await meanwhile();
      daemon.crash();
    });
    expect(stdout === linesOf("out")).toBe(true);
    expect(stderr === linesOf("err")).toBe(true);
    expect(types).toEqual(["started", "reconnecting", "result"]);
    expect(others.at(-1)).toMatchObject({ result: { sequence: 1, result: { exitCode: 7 } } });
  });

  it("passes signals on to the command that it found again", async () => {
    const { id } = await host.create();
    const stream = pyro.streamWorkspaceExec({
      ...{
        workspaceId: id,
        command: `trap 'echo caught; exit 3' INT; ${PRINT}; while :; do sleep 0.02; done`,
      },
    });
    const state = { lost: false, found: false };
    let end: ExecEvent | undefined;
    for await (const event of stream) {
      if (event.type === "stdout" && !state.lost) {
        state.lost = true;
        await host.crash();
        daemon.crash();
      } else if (event.type === "reconnecting") state.found = true;
      else if (
        event.type === "stdout" &&
        state.found &&
        Buffer.from(event.data)
          .toString()
          .includes(`out ${LINES - 1}`)
      )
        await stream.signal("SIGINT");
      else if (event.type === "result") end = event;
    }
    expect(end).toMatchObject({ result: { result: { exitCode: 3 } } });
  });

  it("tells the loss where input was on its way, and where the command is gone", async () => {
    const { id } = await host.create();
    const lost = async (during: () => Promise<void>, stdin?: string) =>
      await read(
        pyro.streamWorkspaceExec({
          workspaceId: id,
          command: `${PRINT}; sleep 100`,
          ...(stdin === undefined ? {} : { stdin }),
        }),
        async () => {
          await during();
          daemon.crash();
        },
      );
    // Nobody reads it: it waits in the pipe and in the agent.
    await expect(lost(() => Promise.resolve(), "x".repeat(4 << 20))).rejects.toMatchObject({
      code: "DAEMON_UNREACHABLE",
    });
    const gone = lost(async () => {
      await host.crash();
      await host.workspaces.delete(host.workspaces.find(id));
    });
    await expect(gone).rejects.toMatchObject({
      code: "WORKSPACE_NOT_FOUND",
    });
  });

  it("leaves a daemon that is lost again and again, and one that does not know the command", async () => {
    await using state = await temporaryState();
    let calls = 0;
    await using _broken = await startFakeDaemon(state.path, {
      workspace: {
        exec: async function* () {
          calls++;
          if (calls === 1) yield await Promise.resolve({ event: { case: "sequence" as const, value: 1 } });
          throw new ConnectError("gone", Code.Unavailable);
        },
      },
    });
    await using other = new Pyro({ stateDir: state.path });
    const types: string[] = [];
    const readAll = async (): Promise<void> => {
      for await (const { type } of other.streamWorkspaceExec({ workspaceId: "ws-1", command: "true" }))
        types.push(type);
    };
    await expect(readAll()).rejects.toMatchObject({ code: "DAEMON_UNREACHABLE" });
    expect(types).toEqual(["started", ...Array<string>(5).fill("reconnecting")]);
    expect(calls).toBe(6);
  });
});
