import { expect, it, vi } from "vitest";
import { PyroError } from "../../../src/protocol/index.js";
import { NO_NETWORK } from "../../../src/workspace/index.js";
import { WorkspaceHost } from "../../fakes/workspace-host.js";

const EGRESS = { ...NO_NETWORK, mode: "egress", allow: ["*"] } as const;

it("The policy of a workspace is the one in force, for the next daemon too, also where its machine could not be told", async () => {
  await using host = await WorkspaceHost.start();
  const workspace = await host.create();
  await workspace.setNetwork(EGRESS);
  const { network } = workspace;
  const setPolicy = network.setPolicy.bind(network);
  vi.spyOn(network, "setPolicy").mockImplementation(async (policy) => {
    await setPolicy(policy);
    throw new PyroError("DEADLINE_EXCEEDED", "late", { hint: "" });
  });
  await expect(workspace.setNetwork(NO_NETWORK)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  await host.restart();
  expect(host.workspaces.find(workspace.id).network.policy).toEqual(NO_NETWORK);
});

it("A policy that cannot be read leaves the one before", async () => {
  await using host = await WorkspaceHost.start();
  const workspace = await host.create();
  await workspace.setNetwork(EGRESS);
  await expect(workspace.setNetwork({ ...EGRESS, allow: ["bad rule"] })).rejects.toMatchObject({
    code: "INVALID_NETWORK_POLICY",
  });
  expect(workspace.record.network).toEqual(EGRESS);
});
