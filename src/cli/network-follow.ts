import { networkLine, toNetworkEntryView, workspaceNetwork } from "../operations/workspace/network.js";
import { visible } from "../operations/index.js";
import { Pyro } from "../sdk/index.js";
import type { CommandContext } from "./context.js";
import { reportFailure } from "./failure.js";
import { interrupts } from "./interrupts.js";
import { operationCommand } from "./operation.js";

/** `pyro workspace network show`; with --follow a line for each entry as it comes, with --json an object each. */
export async function workspaceNetworkCommand(
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  if (input["follow"] !== true) return await operationCommand(workspaceNetwork, input, context);
  const { stdout, stderr, json, host } = context;
  using interrupt = interrupts(host);
  await using pyro = new Pyro(context.pyroOptions);
  try {
    const workspaceId = String(input["workspace_id"]);
    for await (const entry of pyro.watchWorkspaceNetwork({ workspaceId }, { signal: interrupt.signal })) {
      const view = toNetworkEntryView(entry);
      await stdout.write(`${json ? JSON.stringify(view) : visible(networkLine(view))}\n`);
    }
    return 0;
  } catch (error) {
    return (
      interrupt.status() ?? (await reportFailure(error, { stdout, stderr }, { json, statuses: "plain" }))
    );
  }
}
