import type { MessageInitShape } from "@bufbuild/protobuf";
import type { GetNetworkRequestSchema } from "../protocol/gen/pyro/daemon/v1/network_pb.js";
import { PyroError } from "../protocol/index.js";
import type { CallOptions } from "./call.js";
import {
  toNetwork,
  toNetworkEntry,
  toNetworkRules,
  toPublishedPort,
  type NetworkEntry,
  type NetworkOptions,
  type WorkspaceNetwork,
  type WorkspacePorts,
} from "./network-record.js";
import { ShellCalls } from "./shell-calls.js";

/** How long one question for what changed waits. */
const WATCH_MS = 20_000;

/** The calls about what workspaces reach, and what is reached in them. */
export abstract class NetworkCalls extends ShellCalls {
  /** The policy of a workspace, and what it reached; at most `limit` entries, the newest. */
  async getWorkspaceNetwork(
    options: { readonly workspaceId: string; readonly limit?: number | undefined },
    call: CallOptions = {},
  ): Promise<WorkspaceNetwork> {
    const request = { workspace: options.workspaceId, limit: options.limit ?? 0 };
    return await this.client.call("network", "asking for the network", call, async (network, { signal }) =>
      toNetwork(await network.get(request, { signal })),
    );
  }

  /**
   * What is connected and refused in a workspace from now on: each entry when it is made, and again when it changes (its
   * `sequence` stays). Goes on over a daemon's death, until it is left.
   * @throws {PyroError} WORKSPACE_NOT_FOUND, also once it is deleted
   */
  async *watchWorkspaceNetwork(
    options: { readonly workspaceId: string },
    call: Pick<CallOptions, "signal"> = {},
  ): AsyncGenerator<NetworkEntry, void, undefined> {
    const ask = async (request: MessageInitShape<typeof GetNetworkRequestSchema>) =>
      await this.client.call("network", "watching the network", call, (network, { signal }) =>
        network.get({ workspace: options.workspaceId, ...request }, { signal }),
      );
    let { generation } = await ask({ limit: 1 });
    for (;;) {
      const changed = await ask({ afterGeneration: generation, waitMs: WATCH_MS }).catch((error: unknown) => {
        if (PyroError.from(error).code !== "DAEMON_UNREACHABLE") throw error;
        // It died while it was asked. The next one, which this starts, knows what it had written.
        return ask({ afterGeneration: generation });
      });
      generation = changed.generation;
      for (const entry of changed.entries) yield toNetworkEntry(entry);
    }
  }

  /**
   * Replaces the policy of a workspace, or adds to it, also while it runs: connections that the new one refuses are reset.
   * @throws {PyroError} INVALID_NETWORK_POLICY with all that is wrong; the old one stays then
   */
  async setWorkspaceNetwork(
    options: {
      readonly workspaceId: string;
      /** What is given comes on top of the policy that holds, instead of in its place. */
      readonly add?: boolean | undefined;
    } & NetworkOptions,
    call: CallOptions = {},
  ): Promise<WorkspaceNetwork> {
    const { workspaceId: workspace, add = false } = options;
    const request = { workspace, rules: toNetworkRules(options), add };
    return await this.client.call("network", "setting the network", call, async (network, { signal }) =>
      toNetwork(await network.set(request, { signal })),
    );
  }

  /** Ports of a workspace's running services that this host reaches. */
  async listPorts(workspaceId: string, call: CallOptions = {}): Promise<WorkspacePorts> {
    return await this.client.call("network", "listing the ports", call, async (network, { signal }) => {
      const { ports, workspaceId: id } = await network.listPorts({ workspace: workspaceId }, { signal });
      return {
        workspaceId: id,
        ports: ports.map((port) => ({ ...toPublishedPort(port), serviceName: port.serviceName })),
      };
    });
  }
}
