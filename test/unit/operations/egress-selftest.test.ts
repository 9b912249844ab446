import { connect } from "node:net";
import { expect, it } from "vitest";
import { egressSelftest } from "../../../src/operations/host/egress-selftest.js";
import { PyroError } from "../../../src/protocol/index.js";
import type { DoctorCheck, Pyro } from "../../../src/sdk/index.js";

interface Script {
  /** How a connection to a place ends. */
  readonly outcome?: (host: string, index: number) => string;
  /** Of what was refused, what the record tells. */
  readonly isTold?: (host: string) => boolean;
}

/** A machine that says what the script says; the first place is really connected to. */
function scripted({ outcome, isTold = () => true }: Script = {}): { pyro: Pyro; deleted: string[] } {
  const deleted: string[] = [];
  let hosts: string[] = [];
  const pyro = {
    createWorkspace: () => Promise.resolve({ workspaceId: "ws-1" }),
    execWorkspace: async ({ argv }: { argv: string[] }) => {
      const places = argv.slice(4).map((place) => place.split(","));
      hosts = places.map(([host = ""]) => host);
      const socket = connect(Number(places[0]?.[1]), "127.0.0.1");
      await new Promise((resolve) =>
        socket
          .once("close", resolve)
          .on("error", () => undefined)
          .resume(),
      );
      const words = hosts.map((host, at) => outcome?.(host, at) ?? (at === 0 ? "reached" : "kept"));
      return { output: { stdout: { data: Buffer.from(`${words.join("\n")}\n`) } } };
    },
    getWorkspaceNetwork: () => {
      const told = hosts.filter(isTold);
      return Promise.resolve({
        entries: told.map((address) => ({ decision: "refused", name: null, address })),
      });
    },
    deleteWorkspace: (id: string) => Promise.resolve(deleted.push(id)),
  };
  return { pyro: pyro as unknown as Pyro, deleted };
}

async function faults(script: Script): Promise<readonly string[]> {
  const { pyro, deleted } = scripted(script);
  const seen: DoctorCheck[] = [];
  const checks = await egressSelftest(pyro, "debian:12", undefined, (check) => seen.push(check));
  expect(checks).toEqual(seen);
  expect(deleted).toEqual(["ws-1"]);
  return checks.filter(({ ok }) => !ok).map(({ message }) => message.replace(/ port \d+/, ""));
}

it("The self-test of egress passes where all is refused and told, and the one open port is reached", async () => {
  expect(await faults({})).toEqual([]);
});

it("The self-test of egress names what was reached, what nobody tells of, and what was not tried", async () => {
  const metadata = "169.254.169.254";
  const only = (outcome: string) => (host: string, at: number) =>
    host === metadata ? outcome : at === 0 ? "reached" : "kept";
  expect(await faults({ outcome: only("reached") })).toEqual([`${metadata} was reached`]);
  expect(await faults({ outcome: only("?") })).toEqual([`${metadata} was not tried`]);
  expect(await faults({ isTold: (host) => host !== metadata })).toEqual([
    `${metadata} was refused, but the record does not say so`,
  ]);
});

it("The self-test of egress cannot pass where nothing is reached at all", async () => {
  const [first, ...more] = await faults({ outcome: () => "kept" });
  expect(first).toContain("the one open port was not reached");
  expect(more).toHaveLength(1);
});

it("The self-test of egress says why there is no machine to try it in", async () => {
  const pyro = {
    createWorkspace: () => Promise.reject(new PyroError("VM_START_FAILED", "no", { hint: "so" })),
  };
  const checks = await egressSelftest(pyro as unknown as Pyro, "debian:12", undefined, () => undefined);
  expect(checks).toMatchObject([{ ok: false, message: "not tested: VM_START_FAILED: no", hint: "so" }]);
});
