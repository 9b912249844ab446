import type { CallOptions } from "./call.js";
import {
  toNetwork,
  toNetworkRules,
  toPublishedPort,
  type NetworkOptions,
  type WorkspaceNetwork,
  type WorkspacePorts,
} from "./network-record.js";
import { ShellCalls } from "./shell-calls.js";

/** The calls about what workspaces reach, and what is reached in them. */
export abstract class NetworkCalls extends ShellCalls {
  /** The policy of a workspace, and what it reached; at most `limit` entries, the newest. */
  async getWorkspaceNetwork(
    options: { readonly workspaceId: string; readonly limit?: number | undefined },
    call: CallOptions = {},
  ): Promise<WorkspaceNetwork> {
    const request = { workspace: options.workspaceId, limit: options.limit ?? 0 };
    return await this.client.call("asking for the network", call, async ({ network }, { signal }) =>
      toNetwork(await network.get(request, { signal })),
    );
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
    return await this.client.call("setting the network", call, async ({ network }, { signal }) =>
      toNetwork(await network.set(request, { signal })),
    );
  }

  /** Ports of a workspace's running services that this host reaches. */
  async listPorts(workspaceId: string, call: CallOptions = {}): Promise<WorkspacePorts> {
    return await this.client.call("listing the ports", call, async ({ network }, { signal }) => {
      const { ports, workspaceId: id } = await network.listPorts({ workspace: workspaceId }, { signal });
      return {
        workspaceId: id,
        ports: ports.map((port) => ({ ...toPublishedPort(port), serviceName: port.serviceName })),
      };
    });
  }
}
