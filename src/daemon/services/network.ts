import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { policyFromFlags, policyToText, policyWithFlags, type PolicyFlags } from "../../network/index.js";
import type {
  GetNetworkResponseSchema,
  NetworkEntrySchema,
  NetworkService,
  PublishedPortSchema,
} from "../../protocol/gen/pyro/daemon/v1/network_pb.js";
import type { NetworkRuleList, NetworkRules } from "../../protocol/gen/pyro/daemon/v1/network_rules_pb.js";
import type {
  ChangedEvents,
  NetworkEvent,
  NetworkPolicyText,
  ServicePort,
  Workspace,
  Workspaces,
} from "../../workspace/index.js";
import { withRedactedErrors } from "./redacted-errors.js";
import { hintFor } from "./workspace-view.js";

/** Entries that are shown where the caller names no number. */
const DEFAULT_ENTRIES = 50;
const LOOPBACK = "127.0.0.1";

/** The NetworkService. */
export function networkService(workspaces: Workspaces): ServiceImpl<typeof NetworkService> {
  const service: ServiceImpl<typeof NetworkService> = {
    get: async ({ workspace: reference, limit, afterGeneration, waitMs }, { signal }) => {
      const workspace = workspaces.find(reference);
      if (afterGeneration === 0n) return newestOf(workspace, limit || DEFAULT_ENTRIES);
      const until = AbortSignal.any([signal, workspace.signal, AbortSignal.timeout(waitMs)]);
      return toNetwork(workspace, await workspace.network.eventsAfter(Number(afterGeneration), until));
    },
    set: async ({ workspace: reference, rules, add }) => {
      const workspace = workspaces.find(reference);
      const flags = toFlags(rules);
      const { policy } = workspace.network;
      await workspace.setNetwork(policyToText(add ? policyWithFlags(policy, flags) : policyFromFlags(flags)));
      return newestOf(workspace, DEFAULT_ENTRIES);
    },
    listPorts: ({ workspace: reference }) => {
      const workspace = workspaces.find(reference);
      const ports = workspace.services.alive.flatMap((facts) => workspace.ports.of(facts));
      return { workspaceId: workspace.id, ports: ports.map(toPublishedPort) };
    },
  };
  return withRedactedErrors(service, workspaces);
}

/**
 * What a user typed, as it is kept; nothing given: no network.
 * @throws {PyroError} INVALID_NETWORK_POLICY with all that is wrong
 */
export function toPolicy(rules: NetworkRules | undefined): NetworkPolicyText {
  return policyToText(policyFromFlags(toFlags(rules)));
}

function toFlags(rules: NetworkRules | undefined): PolicyFlags {
  const { mode = "", allow, deny, file, allowCidrs, allowHostPorts } = rules ?? {};
  const given = (list: NetworkRuleList | undefined) => list?.rules;
  return {
    ...{ mode: mode === "" ? undefined : mode, file },
    ...{ allow: given(allow), deny: given(deny) },
    ...{ allowCidrs: given(allowCidrs), allowHostPorts: given(allowHostPorts) },
  };
}

/** A port of a service as the wire carries it. */
export function toPublishedPort({
  service,
  ...port
}: ServicePort): MessageInitShape<typeof PublishedPortSchema> {
  return { ...port, serviceName: service, host: LOOPBACK };
}

function newestOf(workspace: Workspace, limit: number): MessageInitShape<typeof GetNetworkResponseSchema> {
  const { events, generation } = workspace.network.report;
  return toNetwork(workspace, { events: events.slice(-limit), generation });
}

function toNetwork(
  { id, network }: Workspace,
  { events, generation }: ChangedEvents,
): MessageInitShape<typeof GetNetworkResponseSchema> {
  const { policy, totals } = network.report;
  return {
    workspaceId: id,
    policy: {
      mode: policy.mode,
      allow: [...policy.allow],
      deny: [...policy.deny],
      allowCidrs: [...policy.allowCidrs],
      allowHostPorts: [...policy.allowHostPorts],
    },
    totals: {
      connections: BigInt(totals.connections),
      published: BigInt(totals.published),
      refused: BigInt(totals.refused),
      failed: BigInt(totals.failed),
      bytesUp: BigInt(totals.bytesUp),
      bytesDown: BigInt(totals.bytesDown),
    },
    entries: events.map((event) => toEntry(id, event)),
    generation: BigInt(generation),
  };
}

function toEntry(workspaceId: string, event: NetworkEvent): MessageInitShape<typeof NetworkEntrySchema> {
  const { kind, decision, name = "", address = "", port = 0, times = 0 } = event;
  const { reason = "", hint = "", openedBy = "", end = "", durationMs = 0 } = event;
  return {
    ...{ kind, decision, name, address, port, reason, openedBy, end, times },
    hint: hintFor(workspaceId, hint),
    sequence: BigInt(event.sequence),
    atMs: BigInt(event.atMs),
    bytesUp: BigInt(event.bytesUp),
    bytesDown: BigInt(event.bytesDown),
    durationMs: BigInt(Math.round(durationMs)),
  };
}
