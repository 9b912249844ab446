import { expect, test } from "vitest";
import { Pyro } from "../../../src/sdk/index.js";
import { startFakeDaemon } from "../../fakes/fake-daemon.js";
import { temporaryState } from "../../fakes/state-directory.js";

/** More than the streams that a server lets a client reset at once. */
const MANY = 1_200;

/** One answer, which is the result, and then the stream's end. */
const only = <T>(answer: T) =>
  async function* () {
    yield await Promise.resolve(answer);
  };

test.each<[name: string, call: (pyro: Pyro) => Promise<unknown>]>([
  ["commands in fresh machines", (pyro) => pyro.runInVm({ environment: "debian:12", argv: ["both"] })],
  ["pulls of what is there", (pyro) => pyro.pullEnvironment("debian:12")],
  ["looks at what changed", (pyro) => pyro.diffWorkspace({ workspaceId: "w" })],
  ["diagnoses", (pyro) => pyro.doctor()],
])("one connection carries any number of %s", async (_, call) => {
  await using state = await temporaryState();
  const environment = { name: "debian:12" };
  await using daemon = await startFakeDaemon(state.path, {
    environment: { pull: only({ event: { case: "result", value: { environment } } } as const) },
    workspace: { diff: only({ event: { case: "summary", value: { workspaceId: "w" } } } as const) },
    doctor: { diagnose: only({ event: { case: "report", value: { ok: true } } } as const) },
  });
  await using pyro = new Pyro({ stateDir: state.path });
  for (let count = 0; count < MANY; count++) await call(pyro);
  expect({ calls: daemon.calls.length, abandoned: daemon.abandoned }).toEqual({
    // Each connection asks for the daemon's status first.
    calls: 1 + MANY,
    abandoned: [],
  });
});
