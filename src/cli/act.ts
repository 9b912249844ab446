import { isOperation, type Declaration } from "../operations/index.js";
import type { CommandContext } from "./context.js";
import { withRecords } from "./options.js";
import { proven } from "./proven.js";

/** Does what a command line asks for and gives its exit status. Each face of an operation is loaded when it is used. */
export async function act(
  declaration: Declaration,
  input: Record<string, unknown>,
  context: CommandContext,
): Promise<number> {
  switch (declaration.name) {
    case "vm_run":
      return await (await import("./run.js")).runCommand(input, context);
    case "workspace_exec":
      return await (await import("./workspace-exec.js")).workspaceExecCommand(input, context);
    case "workspace_network": {
      const { workspaceNetworkCommand } = await import("./network-follow.js");
      return await workspaceNetworkCommand(proven(declaration, input), context);
    }
    case "workspace_top":
      return await (await import("./top.js")).workspaceTopCommand(proven(declaration, input), context);
    case "shell_attach":
      return await (await import("./shell-attach.js")).shellAttachCommand(input, context);
    case "daemon_logs":
      return await (await import("./daemon-logs.js")).daemonLogsCommand(proven(declaration, input), context);
    case "mcp_serve":
      return await (await import("./mcp-serve.js")).mcpServeCommand(proven(declaration, input), context);
    case "demo_ollama":
      return await (await import("./demo/ollama.js")).demoOllamaCommand(proven(declaration, input), context);
    case "doctor":
      return await (await import("./doctor.js")).doctorCommand(proven(declaration, input), context);
    default: {
      if (!isOperation(declaration)) throw new Error(`no face for ${declaration.name}`);
      const { operationCommand } = await import("./operation.js");
      return await operationCommand(
        declaration,
        proven(declaration, withRecords(declaration, input)),
        context,
      );
    }
  }
}
